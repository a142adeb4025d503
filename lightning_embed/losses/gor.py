"""The global orthogonal regulariser: vectors of different texts should be as good as orthogonal."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from lightning_embed.batch import EmbeddingBatch
from lightning_embed.distributed.collectives import global_count, global_sum
from lightning_embed.losses.base import EmbeddingLoss, in_float32, required_roles, role_names, unit

Variant = Literal["second_moment", "original"]


@in_float32
def global_orthogonal(vectors: Tensor, variant: Variant = "second_moment") -> Tensor:
    """Mean squared cosine of all ordered pairs of different rows, over every rank's rows.

        M₂ = 1/(G(G−1)) Σ_{i≠j} (q_i·q_j)²  =  (‖QᵀQ‖²_F − Σ_i ‖q_i‖⁴) / (G(G−1))
        M₁ = 1/(G(G−1)) Σ_{i≠j} q_i·q_j     =  (‖Σ_i q_i‖² − Σ_i ‖q_i‖²) / (G(G−1))

    The right-hand sides need D² memory and one exchange of a D×D matrix, for any batch.

    Args:
        vectors: (n, D) this rank's rows, of any length; they are normalised here.
        variant: `second_moment`: M₂; `original`: M₁² + max(0, M₂ − 1/D).

    Returns:
        Scalar in [0, 2], the same on every rank; 0 where there are fewer than two rows.
    """
    q = unit(vectors)
    rows = global_count(len(q), q)
    pairs = (rows * (rows - 1)).clamp(min=1)
    squares = q.square().sum(dim=-1)
    second = (global_sum(q.T @ q).square().sum() - global_sum(squares.square().sum())) / pairs
    if variant == "second_moment":
        return second
    first = (global_sum(q.sum(dim=0)).square().sum() - global_sum(squares.sum())) / pairs
    return first.square() + (second - 1 / q.shape[1]).relu()


class GOR(EmbeddingLoss):
    """Spreads the vectors of each column out over the sphere, which is what truncation and binarisation live on.

        L_GOR = 1/(B(B−1)) Σ_{i≠j} (q_i·q_j)² + 1/(B(B−1)) Σ_{i≠j} (p_i⁺·p_j⁺)²

    Equation 3 of *jina-embeddings-v5-text* (arXiv 2602.15547), as in EmbeddingGemma: the second moment alone, no cross terms.
    `original` is Zhang et al. 2017, *Learning Spread-out Local Feature Descriptors*: M₁² + max(0, M₂ − 1/D).

    Args:
        columns: Roles that are spread out, each by itself; their terms are added. Negatives are taken where the batch has them.
        variant: `second_moment` or `original`.
    """

    must_differ = frozenset({"row"})

    def __init__(self, columns: Sequence[str] = ("anchor", "positive"), variant: Variant = "second_moment") -> None:
        super().__init__()
        self.columns, self.variant = role_names(columns), variant
        self.requires = required_roles(self.columns)
        self.uses = frozenset(self.columns)

    def forward(self, batch: EmbeddingBatch) -> Tensor:
        """Sum over the columns."""
        present = [batch.student[role] for role in self.columns if role in batch.student]
        return torch.stack([global_orthogonal(vectors, self.variant) for vectors in present]).sum()
