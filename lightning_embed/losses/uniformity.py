"""Uniformity: vectors of different texts repel each other, the near ones most."""

from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_embed.batch import EmbeddingBatch
from lightning_embed.distributed.collectives import global_sum
from lightning_embed.losses.base import EmbeddingLoss, check_positive, in_float32, required_roles, role_names, unit
from lightning_embed.losses.slices import sum_in_slices


@in_float32
def uniformity(vectors: Tensor, all_vectors: Tensor | None = None, offset: int = 0, t: float = 2.0) -> Tensor:
    """ln of the mean of exp(−t‖q_i − q_j‖²) over all ordered pairs of different rows, over every rank's rows.

    Args:
        vectors: (n, D) this rank's rows i, of any length; they are normalised here.
        all_vectors: (G, D) every rank's rows j; None: the same as i.
        offset: Index in j of the first i.
        t: How fast the repulsion falls off with the distance, > 0.

    Returns:
        Scalar in [−4t, 0], the same on every rank; 0 where there are fewer than two rows.
    """
    mine = unit(vectors)
    others = mine if all_vectors is None else unit(all_vectors)

    def kernel(rows: slice) -> Tensor:
        itself = torch.arange(offset, offset + len(mine), device=mine.device)[rows, None]
        distance = 2 - 2 * mine[rows] @ others.T
        return (-t * distance).exp().scatter(1, itself, 0.0).sum()

    total = global_sum(sum_in_slices(kernel, len(mine), len(others)))
    if len(others) < 2:
        return total * 0
    return (total / (len(others) * (len(others) - 1))).clamp(min=torch.finfo(total.dtype).tiny).log()


class Uniformity(EmbeddingLoss):
    """Spreads the vectors of each column out over the sphere by pushing neighbours apart.

        L = ln 1/(B(B−1)) Σ_{i≠j} exp(−t ‖q_i − q_j‖²), added up over the columns

    Wang and Isola 2020, *Understanding Contrastive Representation Learning through Alignment and Uniformity on the Hypersphere* (arXiv
    2005.10242). GOR asks all cosines to be near 0 and costs D² memory; this one keeps pushing beyond 0 and looks mostly at the
    nearest pairs.

    Args:
        columns: Roles that are spread out, each by itself. Negatives are taken where the batch has them.
        t: How fast the repulsion falls off with the squared distance, > 0.
    """

    must_differ = frozenset({"row"})

    def __init__(self, columns: Sequence[str] = ("anchor", "positive"), t: float = 2.0) -> None:
        super().__init__()
        check_positive(t=t)
        self.columns, self.t = role_names(columns), t
        self.requires = required_roles(self.columns)
        self.uses = frozenset(self.columns)

    def forward(self, batch: EmbeddingBatch) -> Tensor:
        """Sum over the columns."""
        terms = []
        for role in self.columns:
            if role in batch.student:
                everyone, offset = batch.gather("student", role)
                terms.append(uniformity(batch.student[role], everyone, offset, self.t))
        return torch.stack(terms).sum()
