"""A loss with a parameter, which reads the module that trains it."""

import torch
from torch import Tensor, nn

from lightning_embed import EmbeddingBatch, EmbeddingLoss, EmbeddingModule
from lightning_embed.distributed import global_mean
from lightning_embed.testing import assert_world_size_invariant


class Margin(EmbeddingLoss):
    """Holds the cosine of anchor and positive above a margin that trains."""

    requires = frozenset({"anchor", "positive", "teacher"})

    def __init__(self, margin: float = 0.5) -> None:
        super().__init__()
        self.margin = nn.Parameter(torch.tensor(margin))

    def forward(self, batch: EmbeddingBatch) -> Tensor:
        similarity = torch.cosine_similarity(batch.student["anchor"], batch.student["positive"])
        known = torch.cosine_similarity(batch.teacher["anchor"], batch.teacher["positive"])
        below = (self.margin * known - similarity).relu()
        return global_mean(below.sum(), len(batch))

    def on_fit_start(self, module: EmbeddingModule) -> None:
        print(module.student.dim, module.teacher_roles)

    def on_step_end(self, module: EmbeddingModule, step: int) -> None:
        if step > 10 and module.projection is not None:
            self.margin.data.clamp_(0.0, 1.0)


if __name__ == "__main__":
    assert_world_size_invariant(Margin)
