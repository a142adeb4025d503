"""The dims x precision grid: encode once, then see what truncation and quantisation cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from lightning_embed.errors import UserError
from lightning_embed.evaluation.metrics.quantize import Precision


@dataclass(frozen=True)
class GridRow:
    """The scores of one embedding size in one precision."""

    dim: int
    """Entries a vector."""
    precision: Precision
    """How documents are stored and searched."""
    bytes_per_vector: int
    """What one stored document takes."""
    scores: dict[str, float]
    """Metric -> score, 0 to 1."""


class Change(NamedTuple):
    """How far a score lies from another; negative where it lost."""

    points: float
    """100 · (score − reference)."""
    percent: float
    """100 · (score − reference) / reference; NaN where the reference is 0."""


def halved_dims(dim: int) -> list[int]:
    """D and its halves, down to 32.

    Args:
        dim: D.
    """
    dims = [dim]
    while dims[-1] // 2 >= 32:
        dims.append(dims[-1] // 2)
    return dims


def check_dims(dims: Sequence[int], whole: int) -> None:
    """Refuses sizes that vectors cannot be cut to.

    Args:
        dims: Sizes.
        whole: D.

    Raises:
        UserError: There is none, or one is not 1 to D.
    """
    wrong = [dim for dim in dims if not 1 <= dim <= whole]
    if wrong or not dims:
        raise UserError(f"dims must hold sizes of 1 to {whole}, the model's embedding size, got {wrong or 'none'}")


def change(score: float, reference: float) -> Change:
    """How far a score lies from a reference, in points and percent.

    Args:
        score: 0 to 1.
        reference: 0 to 1.
    """
    lost = 100 * (score - reference)
    return Change(lost, lost / reference if reference else float("nan"))


def full_precision(rows: Sequence[GridRow]) -> GridRow | None:
    """The float32 row of the largest size; None where the grid has no float32 row.

    Args:
        rows: A grid.
    """
    return max((row for row in rows if row.precision == "float32"), key=lambda row: row.dim, default=None)
