"""Modules of your own: python -m lightning_embed fit --model examples.custom_module.FrozenEmbeddings"""

from collections.abc import Mapping, Sequence

from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.nn.functional import cosine_similarity

from lightning_embed import EmbeddingBatch, EmbeddingLoss, EmbeddingModule, HeldOutMetric, TokenBatch


class FrozenEmbeddings(EmbeddingModule):
    """Trains the layers but freezes the word embeddings, which saves their gradient and optimizer memory."""

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Freezes the word embeddings before the optimizer sees them."""
        self.student.backbone.get_input_embeddings().requires_grad_(False)
        return super().configure_optimizers()


class SourceWeights(EmbeddingModule):
    """Weights the losses by source as well: a loss's own weight is the same for all sources."""

    source_weights: Mapping[str, float] = {"web": 0.5}
    """Name of a source -> factor of its losses; 1 for all others."""

    def compute_losses(self, batch: EmbeddingBatch, losses: Mapping[str, EmbeddingLoss]) -> dict[str, Tensor]:
        """Scales every value of the batch; `training_step` applies the weights of `losses` afterwards."""
        factor = self.source_weights.get(batch.source, 1.0)
        return {name: factor * value for name, value in super().compute_losses(batch, losses).items()}


class PairCosine(HeldOutMetric):
    """The mean cosine of held-out pairs, as a metric of your own."""

    columns, main = ("anchors", "positives"), "cosine"

    def add(self, vectors: Mapping[str, Tensor], batch: TokenBatch) -> None:
        """Adds a batch of pairs."""
        self.update(vectors["anchor"], vectors["positive"])

    def score(self, rows: Sequence[Tensor], dim: int, precision: str) -> dict[str, float]:
        """`cosine`, whatever the precision."""
        anchors, positives = rows
        return {self.main: float(cosine_similarity(anchors[:, :dim], positives[:, :dim]).mean())}


class WithPairCosine(EmbeddingModule):
    """Scores every held-out source by `PairCosine`: it logs val/cosine, and the report shows it."""

    def held_out_metric(self, batch: TokenBatch) -> HeldOutMetric:
        """The metric of a held-out source, which `batch.source` and `batch.task` tell."""
        return PairCosine()
