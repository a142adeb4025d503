"""The global orthogonal regulariser: vectors of different texts should be as good as orthogonal."""

from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_embed.batch import EmbeddingBatch
from lightning_embed.distributed import global_count, global_sum
from lightning_embed.losses.base import EmbeddingLoss, in_float32, normalize


@in_float32
def global_orthogonal(vectors: Tensor) -> Tensor:
    """Mean squared cosine of all ordered pairs of different rows, over every rank's rows.

        1/(G(G−1)) Σ_{i≠j} (q_i·q_j)²  =  (‖QᵀQ‖²_F − Σ_i ‖q_i‖⁴) / (G(G−1))

    The right side needs D² memory and one exchange of a D×D matrix, whatever the batch.

    Args:
        vectors: (n, D) this rank's rows, of any length; they are normalised here.

    Returns:
        Scalar in [0, 1], the same on every rank; 0 where there are fewer than two rows.
    """
    q = normalize(vectors)
    rows = global_count(len(q), q)
    gram = global_sum(q.T @ q)
    own = global_sum(q.square().sum(dim=-1).square().sum())
    return (gram.square().sum() - own) / (rows * (rows - 1)).clamp(min=1)


class GOR(EmbeddingLoss):
    """Spreads the vectors of each column out over the sphere, which is what truncation and binarisation live on.

        L_GOR = 1/(B(B−1)) Σ_{i≠j} (q_i·q_j)² + 1/(B(B−1)) Σ_{i≠j} (p_i⁺·p_j⁺)²

    Equation 3 of *jina-embeddings-v5-text* (arXiv 2602.15547), as in EmbeddingGemma: the second moment alone, no cross terms; after
    Zhang et al. 2017, *Learning Spread-out Local Feature Descriptors*.

    Args:
        columns: Roles that are spread out, each by itself; their terms are added.
    """

    def __init__(self, columns: Sequence[str] = ("anchor", "positive")) -> None:
        super().__init__()
        self.columns = tuple(columns)
        self.requires = frozenset(self.columns)

    def forward(self, batch: EmbeddingBatch) -> Tensor:
        """Sum over the columns."""
        return torch.stack([global_orthogonal(batch.student[role]) for role in self.columns]).sum()
