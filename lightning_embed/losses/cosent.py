"""CoSENT: pairs should be as alike, one against the other, as their gold scores say."""

import torch
from torch import Tensor

from lightning_embed.batch import ANCHOR, POSITIVE, EmbeddingBatch
from lightning_embed.distributed.collectives import gather
from lightning_embed.losses.base import EmbeddingLoss, check_positive, in_float32, unit


@in_float32
def cosent(similarity: Tensor, score: Tensor, temperature: float = 0.05) -> Tensor:
    """ln(1 + Σ_{s_i > s_j} exp((φ_j − φ_i)/τ′)), in O(B log B) time and O(B) memory.

    With the pairs sorted by falling gold score, the sum over all i above j is exp(φ_j/τ′) times a running sum of exp(−φ_i/τ′), cut
    off where the group of scores equal to s_j begins; both are kept as logarithms.

    Args:
        similarity: (B,) the student's similarity φ of each pair.
        score: (B,) the gold score s of each pair; only their order counts.
        temperature: τ′ > 0.

    Returns:
        Scalar ≥ 0; 0 where all scores are equal.
    """
    score, order = score.sort(descending=True)
    z = similarity[order] / temperature
    above = torch.searchsorted(-score, -score)  # how many scores are strictly higher
    running = (-z).logcumsumexp(dim=0)
    has_above = above > 0
    terms = z[has_above] + running[above[has_above] - 1]
    return torch.cat([z.new_zeros(1), terms]).logsumexp(dim=0)


class CoSENT(EmbeddingLoss):
    """Orders pairs by their given scores: for each two pairs of different scores, the higher must be the more alike.

        L_co = ln(1 + Σ_{s_i > s_j} exp((φ_j − φ_i)/τ′))

    Equation 5 of *jina-embeddings-v5-text* (arXiv 2602.15547), whose printed form has a misplaced fraction; Huang et al. 2024,
    *CoSENT*. Pairs of all ranks are compared: only their cosines and scores are exchanged.

    Args:
        temperature: τ′ > 0.
    """

    must_differ = frozenset({"score"})

    def __init__(self, temperature: float = 0.05) -> None:
        super().__init__()
        check_positive(temperature=temperature)
        self.temperature = temperature
        self.requires = frozenset({ANCHOR, POSITIVE, "score"})

    def forward(self, batch: EmbeddingBatch) -> Tensor:
        """The loss over the pairs of all ranks, the same on each."""
        similarity = gather(self.similarity(batch.student[ANCHOR], batch.student[POSITIVE])).rows
        return cosent(similarity, batch.gather("score", POSITIVE).rows, self.temperature)

    def similarity(self, anchor: Tensor, positive: Tensor) -> Tensor:
        """(B,) cosine of each pair."""
        return (unit(anchor) * unit(positive)).sum(dim=-1)
