"""KL distillation: the student spreads its belief over a query's candidates as the teacher does."""

import torch
from torch import Tensor

from lightning_embed.batch import EmbeddingBatch
from lightning_embed.distributed.collectives import global_mean
from lightning_embed.losses.base import check_positive, in_float32
from lightning_embed.losses.candidates import CandidateLoss, Similarity, Targets


@in_float32
def kl_distillation(
    student: Tensor, gold: Tensor, temperature: float = 1.0, teacher_temperature: float | None = None
) -> Tensor:
    """τ² Σ_c p^T_c ln(p^T_c / p^S_c) of each query, with p = softmax over its candidates of score/τ.

    Args:
        student: (B, C) the student's scores; −∞ where a query has fewer candidates.
        gold: (B, C) the gold scores; −∞ likewise.
        temperature: τ > 0.
        teacher_temperature: τ of the gold scores; None: the same.

    Returns:
        (B,) divergences, ≥ 0.
    """
    target = (gold / (teacher_temperature or temperature)).log_softmax(dim=1)
    log_ratio = target - (student / temperature).log_softmax(dim=1)
    absent = student == -torch.inf
    return temperature**2 * (target.exp() * log_ratio.masked_fill(absent, 0.0)).sum(dim=1)


def candidate_table(positive: Tensor, negative: Tensor, owner: Tensor) -> Tensor:
    """(B, 1 + most negatives) the scores of each query's candidates, its positive first, −∞ after its last.

    Args:
        positive: (B,).
        negative: (M,) in the order of their owners.
        owner: (M,) the query of each.
    """
    counts = torch.bincount(owner, minlength=len(positive))
    place = torch.arange(len(owner), device=owner.device) - (counts.cumsum(0) - counts)[owner]
    table = positive.new_full((len(positive), 1 + int(counts.max()) if len(counts) else 1), -torch.inf)
    table[:, 0] = positive
    table[owner, 1 + place] = negative
    return table


class KLDistillation(CandidateLoss):
    """Matches the distribution over each query's candidates with the one that a teacher (vectors, or given scores) has.

        L = τ²/B Σ_i KL( softmax(g(q_i, ·)/τ_T) ‖ softmax(s(q_i, ·)/τ) )

    Lin et al. 2020, *Distilling Dense Representations for Ranking using Tightly-Coupled Teachers* (arXiv 2010.11386). Candidates are the
    positive and the row's own negatives. Cosines lie close together: at τ = 1 both distributions are almost flat, so lower it, and
    raise λ, for the factor τ² keeps the gradient's size only from τ = 1 upwards.

    Args:
        temperature: τ > 0.
        teacher_temperature: τ_T > 0; None: τ.
        targets: Where the gold scores come from: the `teacher`'s cosines, or the batch's given `score`s.
        similarity: How the student scores: `cosine` or `dot` (of the vectors before they are normalised).
    """

    def __init__(
        self,
        temperature: float = 1.0,
        teacher_temperature: float | None = None,
        targets: Targets = "teacher",
        similarity: Similarity = "cosine",
    ) -> None:
        super().__init__(targets, similarity)
        check_positive(
            temperature=temperature,
            teacher_temperature=temperature if teacher_temperature is None else teacher_temperature,
        )
        self.temperature, self.teacher_temperature = temperature, teacher_temperature

    def forward(self, batch: EmbeddingBatch) -> Tensor:
        """Mean over the queries of the global batch."""
        positive, negative, gold_positive, gold_negative = self.scores(batch)
        owner = batch.negative_owner
        student = candidate_table(positive, negative, owner)
        gold = candidate_table(gold_positive, gold_negative, owner)
        divergence = kl_distillation(student, gold, self.temperature, self.teacher_temperature)
        return global_mean(divergence.sum(), len(divergence))
