"""How long texts, batches and the run of a first job are, from what its sources hold."""

from collections.abc import Sequence
from dataclasses import dataclass

BATCH = 64
"""Rows of a step, where a source has enough."""
BATCHES = 4
"""The fewest batches that a source is to have."""
STEPS = 1000
MANY, FEW = 10, 0.2
"""Epochs that a run has at most, and at least."""
HELD_OUT = 1000
"""Rows to hold out where there are many."""
SHARES = (0.0001, 0.001, 0.005, 0.01, 0.02, 0.05)
LARGEST_SHARE = 0.1
FEWEST = 40
"""Rows of a source, of which some can be held out."""
UNEVEN = 20
"""How many times the batches of the smallest source the largest may have, for a turn in proportion to their sizes."""


@dataclass(frozen=True)
class Sizes:
    """The numbers of a job."""

    batches: list[int]
    """Rows of a step of each source."""
    holdout: float
    """Share of the rows; 0: none."""
    epoch: int
    """Steps of an epoch."""
    steps: int
    uneven: bool
    """Whether large sources would leave the small ones hardly a turn."""


def max_length(tokens: int, most: int) -> int:
    """Tokens after which texts are cut: a multiple of 32, but no more than the model reads.

    Args:
        tokens: The length that nearly all texts keep within.
        most: What the model reads.
    """
    return min(most, -(-max(1, tokens) // 32) * 32)


def batch_size(rows: int) -> int:
    """Rows of a step of a source: 64, or for few rows a power of two that gives it four batches.

    Args:
        rows: The source's.
    """
    size = BATCH
    while size > 2 and size * BATCHES > rows:
        size //= 2
    return size


def share_to_hold_out(rows: Sequence[int]) -> float:
    """The share of each source's rows to hold out: about 1,000 rows in all, and at least 40 of each source; 0 for too few rows.

    Args:
        rows: Those of each source.
    """
    if min(rows) < FEWEST:
        return 0.0
    fits = (share for share in SHARES if share * sum(rows) >= HELD_OUT and share * min(rows) >= FEWEST)
    return next(fits, LARGEST_SHARE)


def sizes(rows: Sequence[int], holdout: float) -> Sizes:
    """Batches and steps for some sources.

    Args:
        rows: Those of each source.
        holdout: The share that is held out.
    """
    kept = [max(1, int(count * (1 - holdout))) for count in rows]
    batches = [batch_size(count) for count in kept]
    turns = [max(1, count // size) for count, size in zip(kept, batches, strict=True)]
    epoch = sum(turns)
    steps = max(1, min(MANY * epoch, max(STEPS, int(FEW * epoch))))
    return Sizes(batches, holdout, epoch, steps, max(turns) > UNEVEN * min(turns))
