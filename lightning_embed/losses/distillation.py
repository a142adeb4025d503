"""Embedding distillation: the student's vectors, through ψ, point where the teacher's do."""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from lightning_embed.batch import ANCHOR, NEGATIVE, POSITIVE, EmbeddingBatch
from lightning_embed.distributed.collectives import global_mean, world_size
from lightning_embed.errors import UserError
from lightning_embed.losses.base import EmbeddingLoss, in_float32, required_roles, role_names, unit

Metric = Literal["cosine", "squared_l2", "mse"]


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
        return 1 - (unit(student) * unit(teacher)).sum(dim=-1)
    squared = (student - teacher).square()
    return squared.sum(dim=-1) if metric == "squared_l2" else squared.mean(dim=-1)


class Distillation(EmbeddingLoss):
    """Pulls the projected student vectors to the frozen teacher's.

        L_distill = Σ_i Σ_{z ∈ columns} [1 − φ(ψ(z_i^S), z_i^T)]

    Equation 1 of *jina-embeddings-v5-text* (arXiv 2602.15547). z^S is the embedding as it is used, a unit vector. The paper prints a
    sum; beside losses that are means, `mean` (over rows and columns of the global batch) keeps λ's meaning at any batch size. Within
    `Matryoshka`, the first k entries are mapped by the first k columns of ψ's matrix: no new parameters.

    Args:
        columns: Roles to distil: any of `anchor`, `positive`, `negative`. Anchor and positive must be there; negatives are taken
            where the batch has them.
        metric: Distance of two vectors: `cosine`, `squared_l2` or `mse`.
        reduction: `mean` over all texts of the global batch, or `sum` as printed.
        targets: Column -> the column of the same row whose teacher vector it is taught instead of its own: with {positive: anchor} a
            translation (`positive`) learns the vector that the teacher gives the original (`anchor`), which makes a student
            multilingual (Reimers and Gurevych 2020, arXiv 2004.09813). The teacher never sees the translations.
    """

    def __init__(
        self,
        columns: Sequence[str] = ("anchor", "positive"),
        metric: Metric = "cosine",
        reduction: Literal["mean", "sum"] = "mean",
        targets: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        self.columns, self.metric, self.reduction = role_names(columns), metric, reduction
        self.targets = _checked(targets or {}, self.columns)
        self.taught_by = frozenset(self.targets.get(role, role) for role in self.columns)
        self.requires = required_roles(self.columns) | {"teacher"}
        self.uses = frozenset(self.columns)

    def forward(self, batch: EmbeddingBatch) -> Tensor:
        """Mean or sum of the distances of all columns' rows."""
        rows = torch.cat([self._distances(batch, role) for role in self.columns if role in batch.student])
        return global_mean(rows.sum(), len(rows)) if self.reduction == "mean" else rows.sum() * world_size()

    def _distances(self, batch: EmbeddingBatch, role: str) -> Tensor:
        student, teacher = unit(batch.student[role]), batch.teacher[self.targets.get(role, role)]
        if batch.projection is not None:
            student, teacher = batch.projection(student, teacher)
        elif student.shape[-1] != teacher.shape[-1]:
            raise UserError(
                f"Distillation compares vectors of one size, and the student's have {student.shape[-1]} entries, the teacher's "
                f"{teacher.shape[-1]}: give the module a `projection`"
            )
        return distillation(student, teacher, self.metric)


def _checked(targets: Mapping[str, str], columns: Sequence[str]) -> dict[str, str]:
    """Targets among the columns that have one text a row; the negatives of a row are many, and none of them is another's translation."""
    for role, target in targets.items():
        if role not in columns or role == NEGATIVE or target not in (ANCHOR, POSITIVE):
            raise UserError(
                f"Distillation: targets must map one of its columns (anchor, positive) to {ANCHOR} or {POSITIVE}, got {role}: {target}"
            )
    return dict(targets)
