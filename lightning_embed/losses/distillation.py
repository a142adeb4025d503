"""Embedding distillation: the student's vectors, through ψ, point where the teacher's do."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from lightning_embed.batch import EmbeddingBatch
from lightning_embed.distributed import global_mean, world_size
from lightning_embed.errors import UserError
from lightning_embed.losses.base import EmbeddingLoss, in_float32, normalize

Metric = Literal["cosine", "squared_l2", "mse"]
Reduction = Literal["mean", "sum"]


@in_float32
def distillation(student: Tensor, teacher: Tensor, metric: Metric = "cosine") -> Tensor:
    """Distance of each student vector to its teacher vector: 1 − φ(s_i, t_i), or ‖s_i − t_i‖², or that over E.

    Args:
        student: (n, E) student vectors in the teacher's space.
        teacher: (n, E) teacher vectors.
        metric: `cosine`, `squared_l2` or `mse`.

    Returns:
        (n,) distances, ≥ 0.
    """
    if metric == "cosine":
        return 1 - (normalize(student) * normalize(teacher)).sum(dim=-1)
    squared = (student - teacher).square()
    return squared.sum(dim=-1) if metric == "squared_l2" else squared.mean(dim=-1)


class Distillation(EmbeddingLoss):
    """Pulls the projected student vectors to the frozen teacher's.

        L_distill = Σ_i Σ_{z ∈ columns} [1 − φ(ψ(z_i^S), z_i^T)]

    Equation 1 of *jina-embeddings-v5-text* (arXiv 2602.15547). The paper prints a sum; beside losses that are means, `mean` (over
    rows and columns of the global batch) keeps λ's meaning at any batch size.

    Args:
        columns: Roles to distil: any of `anchor`, `positive`, `negative`. Anchor and positive must be there; negatives are taken
            where the batch has them.
        metric: Distance of two vectors: `cosine`, `squared_l2` or `mse`.
        reduction: `mean` over all texts of the global batch, or `sum` as printed.
        dims: Matryoshka sizes k ≤ D at which the first k entries of the student are distilled too, through the first k columns of
            ψ's matrix; the result is the mean over sizes. None: D alone.
    """

    def __init__(
        self,
        columns: Sequence[str] = ("anchor", "positive"),
        metric: Metric = "cosine",
        reduction: Reduction = "mean",
        dims: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.columns, self.metric, self.reduction, self.dims = tuple(columns), metric, reduction, dims
        self.requires = frozenset(self.columns) - {"negative"} | {"teacher"}
        self.uses = frozenset(self.columns)

    def forward(self, batch: EmbeddingBatch) -> Tensor:
        """Mean over the dims of the distance of all columns' rows."""
        views = [batch.truncate(dim) for dim in self.dims or (batch.dim,)]
        return torch.stack([self._one(view) for view in views]).mean()

    def _one(self, batch: EmbeddingBatch) -> Tensor:
        distances = []
        for role in self.columns:
            if role in batch.student:
                student, teacher = batch.student[role], batch.teacher[role]
                if batch.projection is not None:
                    student, teacher = batch.projection(student, teacher)
                elif student.shape[-1] != teacher.shape[-1]:
                    raise UserError(
                        f"Distillation compares vectors of one size, and the student's have {student.shape[-1]} entries, the "
                        f"teacher's {teacher.shape[-1]}: give the module a `projection`"
                    )
                distances.append(distillation(student, teacher, self.metric))
        rows = torch.cat(distances)
        return global_mean(rows.sum(), len(rows)) if self.reduction == "mean" else rows.sum() * world_size()
