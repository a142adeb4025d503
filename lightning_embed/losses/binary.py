"""Binary robustness: the signs of the vectors tell the same similarities as the vectors do."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_embed.batch import EmbeddingBatch
from lightning_embed.distributed.collectives import global_mean
from lightning_embed.losses.base import EmbeddingLoss, in_float32, required_roles, role_names, unit
from lightning_embed.losses.slices import sum_in_slices


def straight_through_sign(vectors: Tensor) -> Tensor:
    """±1 by the sign of each entry (0 counts as −1, as in packed bits), with the gradient of the entry itself.

    Args:
        vectors: Any shape.
    """
    signs = (vectors > 0).to(vectors.dtype) * 2 - 1
    return vectors + (signs - vectors).detach()


@in_float32
def sign_similarity_error(vectors: Tensor, all_vectors: Tensor | None = None) -> Tensor:
    """1/(n·M) Σ_{i,j} [ b_i·b_j / D − (2/π) arcsin φ(z_i, z_j) ]² with b = sign z, whose gradient passes straight through to √D z/‖z‖.

    Args:
        vectors: (n, D) vectors i of any length.
        all_vectors: (M, D) vectors j; None: the same as i.

    Returns:
        Scalar in [0, 4].
    """
    mine = unit(vectors)
    others = mine if all_vectors is None else unit(all_vectors)
    dim = vectors.shape[-1]
    my_signs, signs = (straight_through_sign(z * math.sqrt(dim)) for z in (mine, others))

    def squares(rows: slice) -> Tensor:
        with torch.no_grad():
            cosine = mine[rows] @ others.T
            target = cosine.clamp(-1, 1).arcsin() * (2 / math.pi)
            target[cosine > 1 - 1e-6] = 1  # a text and itself: there arcsin makes 4e-4 of a rounding of 1e-7
        return (my_signs[rows] @ signs.T / dim - target).square().sum()

    return sum_in_slices(squares, len(mine), len(others)) / max(1, len(mine) * len(others))


class BinaryRobust(EmbeddingLoss):
    """Makes one bit an entry enough: between any two texts, the share of differing signs should be their angle over π.

        L = 1/M² Σ_{i,j} [ b_i·b_j / D − (2/π) arcsin φ(z_i, z_j) ]²,    b = sign z

    For vectors that are spread evenly over the sphere this holds by itself (Goemans and Williamson 1995; Charikar 2002, *Similarity
    Estimation Techniques from Rounding Algorithms*), which is why GOR helps binarisation; here it is asked for. The float similarity
    is the target and gets no gradient; signs pass theirs straight through (Bengio et al. 2013, arXiv 1308.3432).

    Args:
        columns: Roles whose texts are compared, all with all on all ranks. Negatives are taken where the batch has them.
    """

    def __init__(self, columns: Sequence[str] = ("anchor", "positive")) -> None:
        super().__init__()
        self.columns = role_names(columns)
        self.requires = required_roles(self.columns)
        self.uses = frozenset(self.columns)

    def forward(self, batch: EmbeddingBatch) -> Tensor:
        """The loss of this rank's texts against all texts."""
        mine, everyone = batch.texts("student", self.columns)
        return global_mean(sign_similarity_error(mine, everyone) * len(mine), len(mine))
