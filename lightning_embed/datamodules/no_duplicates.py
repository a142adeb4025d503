"""Keeps equal texts out of a batch, by a function of the plan alone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from lightning_embed.datamodules.plan import Plan, Step

WINDOW = 32
"""Batches of a source among which a row may be moved."""


LOOKED_AT_ROWS = 50_000
"""Rows of a source whose texts are compared before a run, to say how many are left out."""


@dataclass(frozen=True)
class Dealt:
    """What became of the rows of some batches."""

    planned: int
    """Rows of the batches in the plan."""
    kept: int
    """Rows that found a batch without their texts."""
    largest: int
    """Rows of the largest batch."""
    batches: int

    @property
    def left_out(self) -> float:
        """Share of the rows that are left out."""
        return 1 - self.kept / max(1, self.planned)


def spread(keys: Sequence[frozenset[int]], batch_size: int, batches: int) -> list[list[int]]:
    """Deals rows out to batches, in order, so that no two rows of a batch share a key.

    A row goes to the first batch that has room and none of its keys; one that fits nowhere is left out.

    Args:
        keys: Keys of each row.
        batch_size: Rows of a batch.
        batches: Number of batches.

    Returns:
        Each batch's row indices.
    """
    dealt: list[list[int]] = [[] for _ in range(batches)]
    seen: list[set[int]] = [set() for _ in range(batches)]
    first = 0
    for index, mine in enumerate(keys):
        for batch in range(first, batches):
            if len(dealt[batch]) < batch_size and seen[batch].isdisjoint(mine):
                dealt[batch].append(index)
                seen[batch] |= mine
                break
        while first < batches and len(dealt[first]) == batch_size:
            first += 1
    return dealt


class NoDuplicates:
    """The plan's batches with rows moved between near batches of the same source, so that no text is in a batch twice.

    The batches of a source are taken 32 at a time and their rows dealt out again (`spread`): nothing but the plan and the texts decides,
    so a run resumes exactly. Rows that fit into none of the 32 are left out of this epoch, and their batch is smaller.

    Args:
        plan: Which rows are step k.
        keys_of: Gives the keys of the texts of each row of a step.
    """

    def __init__(self, plan: Plan, keys_of: Callable[[Step], list[frozenset[int]]]) -> None:
        self.plan, self.keys_of = plan, keys_of
        self._last: dict[int, tuple[int, int, list[Step]]] = {}

    def __getitem__(self, step: int) -> Step:
        """The rows of a step.

        Args:
            step: k ≥ 0.
        """
        return self.batch(*self.plan.turn(step))

    def batch(self, source: int, turn: int) -> Step:
        """The rows of a source's turn.

        Args:
            source: Its number in the plan, from 0.
            turn: How many turns it has had before.
        """
        epoch, place = divmod(turn, self.plan.batches(source))
        window, inside = divmod(place, WINDOW)
        if self._last.get(source, ())[:2] != (epoch, window):
            self._last[source] = (epoch, window, self._deal(source, epoch, window))
        return self._last[source][2][inside]

    def look(self, source: int) -> Dealt:
        """What becomes of the rows of a source's first batches, as an estimate for all.

        Args:
            source: Its number in the plan, from 0.
        """
        size = self.plan.batch_sizes[source]
        dealt = self._deal(source, 0, 0, max(1, min(WINDOW, LOOKED_AT_ROWS // size)))
        planned = sum(len(self.plan.batch(source, turn).rows) for turn in range(len(dealt)))
        return Dealt(planned, sum(len(step.rows) for step in dealt), max(len(step.rows) for step in dealt), len(dealt))

    def _deal(self, source: int, epoch: int, window: int, most: int = WINDOW) -> list[Step]:
        """The steps of a window, or its first ones."""
        count = self.plan.batches(source)
        first = epoch * count + window * WINDOW
        steps = [self.plan.batch(source, first + i) for i in range(min(most, count - window * WINDOW))]
        keys = [key for step in steps for key in self.keys_of(step)]
        rows = np.concatenate([step.rows for step in steps])
        dealt = spread(keys, self.plan.batch_sizes[source], len(steps))
        return [Step(source, rows[indices], epoch, steps[0].key) for indices in dealt]
