"""Matryoshka: a loss on nested prefixes of the vectors, so that a cut vector is a good one too."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from lightning_embed.batch import EmbeddingBatch
from lightning_embed.errors import UserError
from lightning_embed.losses.base import EmbeddingLoss
from lightning_embed.losses.wrapped import WrappedLoss
from lightning_embed.utils.numbers import check_number, check_numbers


class Matryoshka(WrappedLoss):
    """Applies another loss to the first k entries of each student vector, for several k.

        L = Σ_k w_k L(z_{:k}) / Σ_k w_k

    Kusupati et al. 2022, *Matryoshka Representation Learning* (arXiv 2205.13147), with the weights normed, so that λ means the same
    with and without. The wrapped loss sees a batch of shorter vectors and normalises them itself; ψ is sliced, gathers are shared.

    Args:
        loss: The loss that is wrapped.
        dims: Sizes k, each from 1 to D; name D itself to train the whole vector too.
        weights: w_k > 0, one for each of `dims`; None: equal weights.
        dims_per_step: How many of the dims are drawn at random in each step, the same ones on every rank, each of their terms
            weighted so that the expectation is the whole sum; None: all.
        seed: Of that draw, which depends on nothing but it and the step.
    """

    def __init__(
        self,
        loss: EmbeddingLoss,
        dims: Sequence[int],
        weights: Sequence[float] | None = None,
        dims_per_step: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(loss)
        check_numbers("Matryoshka: dims", dims, least=1, whole=True)
        check_numbers("Matryoshka: weights", weights, above=0, optional=True)
        if weights is not None and len(weights) != len(dims):
            raise UserError(f"Matryoshka: weights must be one for each of its {len(dims)} dims, got {list(weights)}")
        check_number("Matryoshka: dims_per_step", dims_per_step, least=1, most=len(dims), whole=True, optional=True)
        check_number("Matryoshka: seed", seed, whole=True)
        self.dims, self.seed = tuple(dims), seed
        total = sum(weights) if weights else len(dims)
        self.weights = tuple(weight / total for weight in weights or [1.0] * len(dims))
        self.dims_per_step = dims_per_step or len(dims)

    def check(self, name: str, batch: EmbeddingBatch) -> None:
        """Raises `UserError` if the wrapped loss does, or if a dim is larger than the vectors."""
        super().check(name, batch)
        if max(self.dims) > batch.dim:
            raise UserError(
                f"loss '{name}' (Matryoshka) has a dim of {max(self.dims)}, but the student's vectors have {batch.dim} entries"
            )

    def forward(self, batch: EmbeddingBatch) -> Tensor:
        """Weighted mean of the wrapped loss over this step's dims."""
        drawn = self.drawn(batch.step)
        share = len(self.dims) / len(drawn)
        return torch.stack([self.loss(batch.truncate(self.dims[k])) * (self.weights[k] * share) for k in drawn]).sum()

    def drawn(self, step: int) -> list[int]:
        """Which of the dims a step takes, as sorted indices.

        Args:
            step: Optimizer steps done.
        """
        draw = np.random.default_rng((self.seed, step))
        return sorted(draw.choice(len(self.dims), self.dims_per_step, replace=False).tolist())
