"""A module with a head of its own."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from lightning_embed import EmbeddingBatch, EmbeddingLoss, EmbeddingModule, LossTerm, TextEncoder, TokenBatch
from lightning_embed.batch import ANCHOR, Tokens
from lightning_embed.heads import Pooling, normalize, pool


class FirstToken(nn.Module):
    """A head: pools hidden states in two ways and mixes the vectors."""

    def __init__(self, dim: int, pooling: Pooling = "mean") -> None:
        super().__init__()
        self.mix = nn.Linear(2 * dim, dim)
        self.pooling: Pooling = pooling

    def forward(self, hidden: Tensor, lengths: Tensor) -> Tensor:
        both = [pool(hidden, lengths, self.pooling), pool(hidden, lengths, "cls")]
        mixed: Tensor = self.mix(torch.cat(both, dim=-1))
        return normalize(mixed)


class Summed(TextEncoder):
    """Pools by the first token plus the mean."""

    def pool(self, hidden: Tensor, lengths: Tensor) -> Tensor:
        return super().pool(hidden, lengths) + pool(hidden, lengths, "cls")


class Weighted(EmbeddingModule):
    """Weighs the losses by source and logs the vectors' length."""

    def __init__(self, student: TextEncoder, losses: dict[str, LossTerm], factor: float = 0.5) -> None:
        super().__init__(student, losses)
        self.factor = factor

    def compute_losses(self, batch: EmbeddingBatch, losses: Mapping[str, EmbeddingLoss]) -> dict[str, Tensor]:
        values = super().compute_losses(batch, losses)
        return {name: self.factor * value for name, value in values.items()}

    def training_step(self, batch: TokenBatch, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        anchors: Tokens = batch.student[ANCHOR]
        with torch.no_grad():
            self.log("length", self.student(anchors).norm(dim=-1).mean())
        return loss

    def validation_step(self, batch: TokenBatch, batch_idx: int) -> None:
        super().validation_step(batch, batch_idx)
        print(batch.source, batch.rows, batch.token_count)
