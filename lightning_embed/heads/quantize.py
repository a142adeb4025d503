"""Vectors cut and quantised: truncate to k dims, then L2-normalise, then quantise, always in this order.

int8 and binary are defined as in `sentence_transformers.quantization.quantize_embeddings`:

    int8     code = floor((x − min_d) / step_d) − 128,  step_d = (max_d − min_d) / 255,  range of each dim from some documents
    binary   bit = x > 0, one bit a dim
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from lightning_embed.errors import UserError


def truncate(vectors: Tensor, dim: int) -> Tensor:
    """The first entries of each vector, L2-normalised, in float32; a zero vector stays zero.

    Args:
        vectors: (n, D).
        dim: 1 to D.

    Raises:
        UserError: dim is out of range.
    """
    if not 1 <= dim <= vectors.shape[-1]:
        raise UserError(f"cannot truncate vectors of {vectors.shape[-1]} dims to {dim}: give 1 to {vectors.shape[-1]}")
    return normalize(vectors[:, :dim].float(), dim=-1)


def int8_ranges(calibration: Tensor) -> tuple[Tensor, Tensor]:
    """The least value (D,) and the step (D,) of each dim.

    Args:
        calibration: (n, D) float32 vectors; a dim that is constant gets step 1.
    """
    low, high = calibration.amin(dim=0), calibration.amax(dim=0)
    step = (high - low) / 255
    return low, torch.where(step == 0, 1.0, step)


def int8_codes(vectors: Tensor, low: Tensor, step: Tensor) -> Tensor:
    """(n, D) int8 codes; values beyond the range are clipped to it.

    Args:
        vectors: (n, D) float32.
        low: (D,) least value of each dim.
        step: (D,) width of a code of each dim.
    """
    return (((vectors - low) / step).floor().clamp(0, 255) - 128).to(torch.int8)


def int8_values(codes: Tensor, low: Tensor, step: Tensor) -> Tensor:
    """(n, D) float32 vectors restored from their codes: min + step · (code + 128), as sentence-transformers rescores them.

    Args:
        codes: (n, D) int8, as `int8_codes` gives them.
        low: (D,) least value of each dim.
        step: (D,) width of a code of each dim.
    """
    return low + step * (codes.float() + 128)


def signs(vectors: Tensor) -> Tensor:
    """(n, D) the bits of each vector as ±1 / √D, so that a dot product of two is 1 − 2 · Hamming distance / D.

    Args:
        vectors: (n, D).
    """
    return torch.where(vectors > 0, 1.0, -1.0) / vectors.shape[-1] ** 0.5
