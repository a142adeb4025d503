"""The dims x precision grid: encode once, then see what truncation and quantisation cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from lightning_embed.errors import UserError
from lightning_embed.evaluation.metrics.quantize import (
    PRECISIONS,
    Precision,
    bytes_per_vector,
    check_precision,
    quantize,
    similarity_of,
    truncate,
)
from lightning_embed.evaluation.metrics.ranking import METRICS, check_vectors, parse_metric, retrieval_scores


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


def robustness_grid(
    queries: Tensor,
    documents: Tensor,
    relevant: Tensor,
    dims: Sequence[int],
    precisions: Sequence[Precision] = PRECISIONS,
    metrics: Sequence[str] = METRICS,
) -> list[GridRow]:
    """Scores the same vectors in every size and precision: truncated, then normalised, then quantised.

    Args:
        queries: (Q, D) vectors, in any float type and of any length.
        documents: (M, D) distinct vectors; int8 is calibrated on them.
        relevant: (Q,) int64 row of each query's own document.
        dims: Sizes, each 1 to D.
        precisions: See `Precision`.
        metrics: Names as `parse_metric` takes them.

    Returns:
        A row for each size and precision, from the largest size down, precisions in the order given.

    Raises:
        UserError: A size is larger than D, a precision or metric is unknown, there are no vectors, or some hold NaN.
    """
    whole = queries.shape[-1]
    wrong = [dim for dim in dims if not 1 <= dim <= whole]
    if wrong or not dims:
        raise UserError(f"dims must hold sizes of 1 to {whole}, the model's embedding size, got {wrong or 'none'}")
    for precision in precisions:
        check_precision(precision)
    depth = max(parse_metric(name)[1] for name in metrics)
    check_vectors(queries, "query")
    check_vectors(documents, "document")
    rows = []
    for dim in sorted(set(dims), reverse=True):
        short_queries, short_documents = truncate(queries, dim), truncate(documents, dim)
        for precision in precisions:
            scores = retrieval_scores(
                *quantize(short_queries, short_documents, precision), relevant, metrics, similarity_of(precision, depth)
            )
            rows.append(GridRow(dim, precision, bytes_per_vector(dim, precision), scores))
    return rows


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
