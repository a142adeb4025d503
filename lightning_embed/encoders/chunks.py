"""Padded chunks: rows sorted by length, cut so that padding and the number of forwards together cost least."""

from collections.abc import Sequence

import numpy as np

FORWARD_COST = 256
"""What one more forward costs, in tokens' worth of time: with it the plan weighs padding against the number of chunks."""


CPU_FORWARD_COST = 64
"""The same on a CPU, which launches nothing and is full with a few hundred tokens."""


MASK_ENTRIES = 2**26
"""The most n·l² of a padded chunk: its mask has so many entries, on the CPU of four bytes each; a single row needs none."""


def plan_chunks(lengths: Sequence[int], max_tokens: int, forward_cost: int = FORWARD_COST) -> list[slice]:
    """Cuts rows, sorted from long to short, into padded chunks so that the time for all of them is least.

    A chunk of n rows whose longest has l tokens takes n·l + forward_cost; the cheapest cut is found exactly, from the last row back.

    Args:
        lengths: Tokens of each row, descending.
        max_tokens: The most that n·l may be in a chunk; a single row may exceed it. Nor may n·l² exceed `MASK_ENTRIES`.
        forward_cost: Overhead of a chunk, in tokens.
    """
    rows = len(lengths)
    best = np.zeros(rows + 1)
    cut = np.zeros(rows, dtype=np.int64)
    for start in range(rows - 1, -1, -1):
        longest = max(1, lengths[start])
        fit = min(rows - start, max(1, min(max_tokens // longest, MASK_ENTRIES // longest**2)))
        costs = np.arange(1, fit + 1) * longest + forward_cost + best[start + 1 : start + fit + 1]
        n = int(costs.argmin())
        best[start], cut[start] = costs[n], start + n + 1
    chunks, start = [], 0
    while start < rows:
        chunks.append(slice(start, int(cut[start])))
        start = int(cut[start])
    return chunks
