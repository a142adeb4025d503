"""Sums over all pairs of rows without the matrix of all pairs."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

SLICE = 2**22
"""Pairs held at once: 16 MB in float32."""


def row_slices(rows: int, width: int) -> list[slice]:
    """Cuts `rows` rows of a matrix into slices of at most `SLICE` entries, of at least one row.

    Args:
        rows: Rows of the matrix.
        width: Entries of a row.
    """
    step = max(1, SLICE // max(1, width))
    return [slice(start, min(start + step, rows)) for start in range(0, rows, step)]


def sum_in_slices(function: Callable[[slice], Tensor], rows: int, width: int) -> Tensor:
    """Σ over slices of function(slice); where there are several, each is computed again in the backward pass instead of being kept.

    Args:
        function: From a slice of rows to a scalar, without any exchange between ranks.
        rows: Rows of the matrix whose entries it adds up; may be 0.
        width: Entries of a row.
    """
    slices = row_slices(rows, width)
    if len(slices) <= 1:
        return function(slice(0, rows))
    kept = not torch.is_grad_enabled()
    parts = [
        function(part) if kept else checkpoint(function, part, use_reentrant=False, preserve_rng_state=False)
        for part in slices
    ]
    return torch.stack(parts).sum()
