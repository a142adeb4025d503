"""The metric of held-out texts alone: does the student point where the teacher does?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from lightning_embed.batch import ANCHOR, TokenBatch
from lightning_embed.errors import UserError
from lightning_embed.evaluation.metrics.held_out import HeldOutMetric
from lightning_embed.evaluation.metrics.quantize import Precision, quantize
from lightning_embed.evaluation.metrics.ranking import check_vectors
from lightning_embed.heads.quantize import truncate
from lightning_embed.utils.teacher_names import ONE, teacher_key

Projected = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""ψ: maps (n, k) vectors of the student and (n, E) of the teacher to the space where they are compared."""


class TeacherCosine(HeldOutMetric):
    """The mean over texts of φ(ψ(z^S), z^T), z^S a unit vector: 1 minus what `Distillation` minimises.

    Of several teachers, `teacher_cosine_NAME` is each one's, and `teacher_cosine` their mean.

    Args:
        projection: ψ, which maps k < D entries of the student by its first k columns; None: D = E, and the first k entries are compared.
            Of several teachers: name -> ψ or None.
    """

    main = "teacher_cosine"

    def __init__(self, projection: Projected | Mapping[str, Projected | None] | None = None) -> None:
        named = projection if isinstance(projection, Mapping) else {ONE: projection}
        keys = [teacher_key(name) for name in named]
        object.__setattr__(self, "roles", (ANCHOR, *keys))
        object.__setattr__(self, "columns", ("students", *(key.replace(".", "_") + "s" for key in keys)))
        super().__init__()
        object.__setattr__(self, "projections", named)  # they are the module's, and no part of the metric

    projections: Mapping[str, Projected | None]

    def add(self, vectors: Mapping[str, Tensor], batch: TokenBatch) -> None:
        """Adds a batch of texts."""
        self.update(*(vectors[role] for role in self.roles))

    @torch.no_grad()
    def score(self, rows: Sequence[Tensor], dim: int, precision: Precision) -> dict[str, float]:
        """`teacher_cosine`, -1 to 1. `binary_rescore` scores as `binary`."""
        students, *teachers = rows
        check_vectors(students, "student")
        short = truncate(students, dim)
        _, stored = quantize(short, short, "binary" if precision == "binary_rescore" else precision)
        cosines = {
            f"{self.main}_{name}" if name else self.main: self._cosine(stored, one, students.shape[-1], psi)
            for (name, psi), one in zip(self.projections.items(), teachers, strict=True)
        }
        return {self.main: sum(cosines.values()) / len(cosines), **cosines}

    def _cosine(self, stored: Tensor, teachers: Tensor, full: int, projection: Projected | None) -> float:
        """The mean cosine with one teacher, of vectors that may be the first entries of `full` ones."""
        check_vectors(teachers, "teacher")
        if projection is not None:
            stored, teachers = projection(stored, teachers)
        elif full == teachers.shape[-1]:
            teachers = teachers[:, : stored.shape[-1]]
        else:
            raise UserError(
                f"texts alone are scored by their cosine with the teacher's vectors, which have {teachers.shape[-1]} entries, and the "
                f"student's {full}: give the module a `projection`, or validate on pairs"
            )
        return float(cosine_similarity(stored, teachers, dim=-1).mean())
