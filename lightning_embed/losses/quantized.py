"""Quantisation-aware training: a loss on vectors as they will be stored, so that bytes and bits keep what floats know."""

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from lightning_embed.batch import ROLES, EmbeddingBatch, View
from lightning_embed.distributed.collectives import global_extremes
from lightning_embed.errors import UserError
from lightning_embed.heads.quantize import int8_codes, int8_ranges, int8_values, signs
from lightning_embed.losses.base import EmbeddingLoss, in_float32, role_names, unit
from lightning_embed.losses.matryoshka import Matryoshka
from lightning_embed.losses.wrapped import WrappedLoss
from lightning_embed.utils.numbers import check_number

EDGE = 1e-5
"""Share of a range that is added at its upper end: else rounding would decide whether the greatest value has code 254 or 255."""
Trained = Literal["int8", "binary"]


def straight_through(vectors: Tensor, values: Tensor) -> Tensor:
    """The values, exactly, with a gradient that passes to the vectors as if they were these.

    Args:
        vectors: Any shape.
        values: The same shape.
    """
    return values.detach() + (vectors - vectors.detach())


@in_float32
def binary_vectors(vectors: Tensor) -> Tensor:
    """sign(z)/√D of z = x/‖x‖ (0 counts as −1, as in packed bits), with the gradient of z.

    Args:
        vectors: (n, D) vectors x of any length.
    """
    z = unit(vectors)
    return straight_through(z, signs(z))


@in_float32
def int8_vectors(vectors: Tensor, low: Tensor, step: Tensor) -> Tensor:
    """low + step · ⌊(z − low)/step⌋ of z = x/‖x‖, with the gradient of z; values beyond the range are clipped to it.

    Args:
        vectors: (n, D) vectors x of any length.
        low: (D,) least value of each dim.
        step: (D,) width of a code of each dim.
    """
    z = unit(vectors)
    return straight_through(z, int8_values(int8_codes(z, low, step), low, step))


class Quantized(WrappedLoss):
    """Applies another loss to the student's vectors as they are stored: quantised, with a gradient that passes straight through.

        L = (1 − w) L(q(z)) + w L(z),  z = x/‖x‖,  ∂q/∂z = 1
        binary: q(z) = sign(z)/√D;  int8: q(z) = low + step · ⌊(z − low)/step⌋,  step = (high − low)/255

    Bengio et al. 2013, *Estimating or Propagating Gradients Through Stochastic Neurons for Conditional Computation* (arXiv 1308.3432).
    low and high of each dim are those of the quantised columns of the global batch, and get no gradient. Vectors are truncated, then
    normalised, then quantised, so `Matryoshka` goes around this loss, not into it.

    Args:
        loss: The loss that is wrapped.
        precision: `int8` or `binary`.
        columns: Roles whose vectors are quantised. [positive, negative]: queries stay floats, as in a search of stored documents
            by float queries.
        float_weight: w, from 0 to below 1: the share of the loss of the float vectors, so that these stay good too.

    Raises:
        UserError: The wrapped loss has a Matryoshka or a Quantized in it, or a setting is out of its range.
    """

    def __init__(
        self,
        loss: EmbeddingLoss,
        precision: Trained = "int8",
        columns: Sequence[str] = ROLES,
        float_weight: float = 0.0,
    ) -> None:
        super().__init__(loss)
        if precision not in get_args(Trained):
            raise UserError(f"Quantized: precision must be int8 or binary, got {precision!r}")
        for part in loss.modules():
            if isinstance(part, Matryoshka):
                raise UserError(
                    "Quantized: put Matryoshka around it, not into it, Matryoshka(loss: Quantized(loss: ...)): vectors are truncated, "
                    "then normalised, then quantised"
                )
            if isinstance(part, Quantized):
                raise UserError("Quantized: its loss is quantised already; leave one of the two out")
        check_number("Quantized: float_weight", float_weight, least=0, below=1)
        self.precision, self.columns, self.float_weight = precision, role_names(columns), float_weight

    def forward(self, batch: EmbeddingBatch) -> Tensor:
        """The wrapped loss of the quantised vectors, and its share of the float ones."""
        stored = self.loss(batch.map_student(self._quantizer(batch)))
        if self.float_weight == 0:
            return stored
        return (1 - self.float_weight) * stored + self.float_weight * self.loss(batch)

    def _quantizer(self, batch: EmbeddingBatch) -> View:
        """Quantises the columns that the loss takes; every rank must call it, with the same columns in its batch."""
        taken = (self.loss.requires | self.loss.uses) & set(self.columns)
        roles = [role for role in ROLES if role in taken and role in batch.student]
        if self.precision == "binary" or not roles:
            return lambda role, vectors: binary_vectors(vectors) if role in roles else vectors
        with torch.no_grad():
            vectors = torch.cat([unit(batch.student[role]) for role in roles])
            low, high = global_extremes(vectors)
            low, step = int8_ranges(torch.stack([low, high + EDGE * (high - low)]))
        return lambda role, vectors: int8_vectors(vectors, low, step) if role in roles else vectors
