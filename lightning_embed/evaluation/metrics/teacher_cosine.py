"""The metric of held-out texts alone: does the student point where the teacher does?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from lightning_embed.batch import ANCHOR, TokenBatch
from lightning_embed.errors import UserError
from lightning_embed.evaluation.metrics.held_out import TEACHER, HeldOutMetric
from lightning_embed.evaluation.metrics.quantize import Precision, quantize, truncate
from lightning_embed.evaluation.metrics.ranking import check_vectors

Projected = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""ψ: maps (n, k) vectors of the student and (n, E) of the teacher to the space where they are compared."""


class TeacherCosine(HeldOutMetric):
    """The mean over texts of φ(ψ(z^S), z^T), z^S a unit vector: 1 minus what `Distillation` minimises.

    Args:
        projection: ψ, which maps k < D entries of the student by its first k columns; None: D = E, and the first k entries are compared.
    """

    roles, columns, main = (ANCHOR, TEACHER), ("students", "teachers"), "teacher_cosine"

    def __init__(self, projection: Projected | None = None) -> None:
        super().__init__()
        object.__setattr__(self, "projection", projection)  # it is the module's, and no part of the metric

    projection: Projected | None

    def add(self, vectors: Mapping[str, Tensor], batch: TokenBatch) -> None:
        """Adds a batch of texts."""
        self.update(vectors[ANCHOR], vectors[TEACHER])

    @torch.no_grad()
    def score(self, rows: Sequence[Tensor], dim: int, precision: Precision) -> dict[str, float]:
        """`teacher_cosine`, -1 to 1. `binary_rescore` scores as `binary`."""
        students, teachers = rows
        check_vectors(students, "student")
        check_vectors(teachers, "teacher")
        short = truncate(students, dim)
        _, stored = quantize(short, short, "binary" if precision == "binary_rescore" else precision)
        if self.projection is not None:
            stored, teachers = self.projection(stored, teachers)
        elif students.shape[-1] == teachers.shape[-1]:
            teachers = teachers[:, :dim]
        else:
            raise UserError(
                f"texts alone are scored by their cosine with the teacher's vectors, which have {teachers.shape[-1]} entries, and the "
                f"student's {students.shape[-1]}: give the module a `projection`, or validate on pairs"
            )
        return {self.main: float(cosine_similarity(stored, teachers, dim=-1).mean())}
