"""Score distillation: who is near whom in a batch is as in the teacher's space."""

from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_embed.batch import EmbeddingBatch
from lightning_embed.distributed.collectives import global_mean
from lightning_embed.losses.base import EmbeddingLoss, check_positive, in_float32, required_roles, role_names, unit
from lightning_embed.losses.slices import sum_in_slices


@in_float32
def score_distillation(
    student: Tensor,
    teacher: Tensor,
    all_student: Tensor | None = None,
    all_teacher: Tensor | None = None,
    offset: int = 0,
    temperature: float = 0.02,
    diagonal: bool = True,
) -> Tensor:
    """1/n Σ_{i,j} (p^S_ij − p^T_ij)² with p_ij = softmax_j(φ(z_i, z_j)/τ).

    Args:
        student: (n, D) vectors i of any length.
        teacher: (n, E) teacher vectors of the same texts; no gradient flows to them.
        all_student: (M, D) vectors j; None: the same as i.
        all_teacher: (M, E) likewise.
        offset: Index in j of the first i.
        temperature: τ > 0.
        diagonal: Whether j = i takes part in the softmax.

    Returns:
        Scalar in [0, 2].
    """
    student, teacher = unit(student), unit(teacher).detach()
    s = student if all_student is None else unit(all_student)
    t = teacher if all_teacher is None else unit(all_teacher).detach()

    def probabilities(rows: slice, own: Tensor, others: Tensor) -> Tensor:
        logits = own[rows] @ others.T / temperature
        if not diagonal:
            itself = torch.arange(offset, offset + len(own), device=own.device)[rows, None]
            logits = logits.scatter(1, itself, torch.finfo(logits.dtype).min)  # not −∞: a lone row has nothing else
        return logits.softmax(dim=1)

    def squares(rows: slice) -> Tensor:
        with torch.no_grad():
            target = probabilities(rows, teacher, t)
        return (probabilities(rows, student, s) - target).square().sum()

    return sum_in_slices(squares, len(student), len(s)) / max(1, len(student))


class ScoreDistillation(EmbeddingLoss):
    """Matches the softmaxed similarities between a batch's texts, column by column, with the teacher's.

        L_score = Σ_z 1/B Σ_{i,j} (p^S_ij(z) − p^T_ij(z))²,    p_ij(z) = softmax_j(φ(z_i, z_j)/τ)

    The score-based objective of the ablation in *jina-embeddings-v5-text* (arXiv 2602.15547), where it rises faster than embedding
    distillation and ends lower. It needs no projection, and sees all ranks' texts.

    Args:
        columns: Roles z, each by itself; their terms are added. Negatives are taken where the batch has them.
        temperature: τ > 0, of student and teacher.
        diagonal: Whether a text's similarity to itself takes part. At a low τ it takes most of the softmax.
    """

    must_differ = frozenset({"row"})

    def __init__(
        self, columns: Sequence[str] = ("anchor", "positive"), temperature: float = 0.02, diagonal: bool = True
    ) -> None:
        super().__init__()
        check_positive(temperature=temperature)
        self.columns, self.temperature, self.diagonal = role_names(columns), temperature, diagonal
        self.requires = required_roles(self.columns) | {"teacher"}
        self.uses = frozenset(self.columns)

    def forward(self, batch: EmbeddingBatch) -> Tensor:
        """Sum over the columns."""
        return torch.stack([self._column(batch, role) for role in self.columns if role in batch.student]).sum()

    def _column(self, batch: EmbeddingBatch, role: str) -> Tensor:
        student, teacher = batch.student[role], batch.teacher[role]
        all_student, offset = batch.gather("student", role)
        all_teacher = batch.gather("teacher", role).rows
        mean = score_distillation(student, teacher, all_student, all_teacher, offset, self.temperature, self.diagonal)
        return global_mean(mean * len(student), len(student))
