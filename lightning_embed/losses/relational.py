"""Relational distillation: the distances between texts stay what they were in a reference model's space."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from lightning_embed.batch import EmbeddingBatch
from lightning_embed.distributed.collectives import global_mean
from lightning_embed.losses.base import EmbeddingLoss, in_float32, required_roles, role_names, unit
from lightning_embed.losses.slices import sum_in_slices

EPS = 1e-6  # a mean distance below this is rounding


@in_float32
def relational(
    student: Tensor, reference: Tensor, all_student: Tensor | None = None, all_reference: Tensor | None = None
) -> Tensor:
    """1/(n·M) Σ_{i,j} [ (1−φ(s_i,s_j))/μ_S − (1−φ(t_i,t_j))/μ_T ]²

    μ is the mean of all M² distances, which is 1 − ‖mean of the unit vectors‖². Where it is 0 (all vectors alike), so are the
    normalised distances.

    Args:
        student: (n, D) vectors i of any length.
        reference: (n, E) reference vectors of the same texts; no gradient flows to them.
        all_student: (M, D) vectors j; None: the same as i.
        all_reference: (M, E) likewise.

    Returns:
        Scalar ≥ 0.
    """
    mine, others = (unit(student), unit(reference)), (all_student, all_reference)
    s, t = (own if other is None else unit(other) for own, other in zip(mine, others, strict=True))
    scales = []
    for vectors in (s, t):
        mu = 1 - vectors.mean(dim=0).square().sum() if len(vectors) else vectors.new_ones(())
        scales.append((mu > EPS) / mu.clamp(min=EPS))

    def squares(rows: slice) -> Tensor:
        ours = (1 - mine[0][rows] @ s.T) * scales[0]
        with torch.no_grad():
            theirs = (1 - mine[1][rows] @ t.T) * scales[1]
        return (ours - theirs).square().sum()

    return sum_in_slices(squares, len(student), len(s)) / max(1, len(student) * len(s))


class RelationalDistillation(EmbeddingLoss):
    """Keeps all distances between the texts of a batch, up to scale, as a reference has them.

        L_r = 1/M² Σ_{i,j} [ (1−φ(s_i,s_j))/μ_S − (1−φ(t_i,t_j))/μ_T ]²

    Equation 8 of *jina-embeddings-v5-text* (arXiv 2602.15547), after Park et al. 2019, *Relational Knowledge Distillation*; M counts
    the texts of all columns and ranks. The paper's reference is the student's own backbone with its adapter off: what the adapter
    must not forget. No projection is needed, for spaces are compared by their distances.

    Args:
        columns: Roles whose texts are compared, all with all. Negatives are taken where the batch has them.
        reference: `reference` (the student with its adapter off) or `teacher`.
    """

    def __init__(
        self,
        columns: Sequence[str] = ("anchor", "positive", "negative"),
        reference: Literal["reference", "teacher"] = "reference",
    ) -> None:
        super().__init__()
        self.columns, self.reference = role_names(columns), reference
        self.requires = required_roles(self.columns) | {reference}
        self.uses = frozenset(self.columns)

    def forward(self, batch: EmbeddingBatch) -> Tensor:
        """The loss of this rank's texts against all texts."""
        student, all_student = batch.texts("student", self.columns)
        reference, all_reference = batch.texts(self.reference, self.columns)
        return global_mean(relational(student, reference, all_student, all_reference) * len(student), len(student))
