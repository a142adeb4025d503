"""The plan: which rows are step k, as a pure function of (seed, k).

Nothing is drawn and nothing is kept: a killed run resumes at any step, at once, with any number of workers or ranks, and
reads the same rows in the same order. Shuffles are real permutations of the whole, computed element by element.

An epoch of the plan gives each source a number of turns (`datamodules.mixture`), in shuffled order. A source's turns run through its
batches one after the other, reshuffled each time that all of them were read: its own epochs, which end when its rows do.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

ROUNDS = 6
_MIX = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


def mix(values: NDArray[np.uint64], key: int) -> NDArray[np.uint64]:
    """A 64-bit hash of each value under a key (the finaliser of splitmix64)."""
    with np.errstate(over="ignore"):
        z = values + np.uint64(key & 0xFFFFFFFFFFFFFFFF) * _MIX[0] + _MIX[0]
        z = (z ^ (z >> np.uint64(30))) * _MIX[1]
        z = (z ^ (z >> np.uint64(27))) * _MIX[2]
        return z ^ (z >> np.uint64(31))


def permute(index: NDArray[np.int64], size: int, key: int) -> NDArray[np.int64]:
    """Where each index goes under the key's permutation of range(size), without making the permutation.

    A Feistel network permutes the next power of four; results outside the range are sent through again until they are inside
    (Black & Rogaway 2002, *Ciphers with Arbitrary Finite Domains*).

    Args:
        index: Indices, each 0 ≤ i < size.
        size: Length of the range, ≥ 1.
        key: Which permutation.
    """
    half = max(1, (int(size - 1).bit_length() + 1) // 2)
    low = np.uint64((1 << half) - 1)
    out = index.astype(np.uint64)
    outside = np.ones(len(out), dtype=bool)
    while outside.any():
        left, right = out[outside] >> np.uint64(half), out[outside] & low
        for turn in range(ROUNDS):
            left, right = right, left ^ (mix(right, key * ROUNDS + turn) & low)
        out[outside] = (left << np.uint64(half)) | right
        outside = out >= np.uint64(size)
    return out.astype(np.int64)


@dataclass(frozen=True)
class Step:
    """The rows of one step: all from one source."""

    source: int
    """Which source."""
    rows: NDArray[np.int64]
    """Its rows."""
    epoch: int
    """How often the source has been read through before."""
    key: int = 0
    """What else is drawn for these rows is drawn by it; another one for each source and epoch."""


@lru_cache(maxsize=4)
def _schedule(turns: tuple[int, ...], key: int, shuffle: bool, alternate: bool) -> NDArray[np.int64]:
    """(2, L) of an epoch's L steps: whose turn it is, and how many turns of the epoch that source has had before."""
    steps = sum(turns)
    slots = np.arange(steps) % len(turns) if alternate else np.repeat(np.arange(len(turns)), turns)
    sources = slots[permute(np.arange(steps), steps, key)] if shuffle and not alternate else slots
    order = np.argsort(sources, kind="stable")
    before = np.empty(steps, dtype=np.int64)
    before[order] = np.arange(steps) - np.repeat(np.cumsum([0, *turns[:-1]]), turns)
    return np.stack([sources, before])


@dataclass(frozen=True)
class Plan:
    """Cuts the sources into global batches of one source each, and puts them in order.

    Args:
        sizes: Rows of each source.
        batch_sizes: Rows of a step of each source.
        turns: Steps of each source in an epoch; None: as many as its rows make, so that each row is read once.
        seed: Which order.
        shuffle: Whether to shuffle batches and rows.
        alternate: Whether the sources take turns strictly, one step each (all `turns` are equal then).
        drop_last: Whether to leave the last rows of a source's epoch out where they don't fill a batch. A source with fewer rows than
            a batch gives one smaller batch.
    """

    sizes: tuple[int, ...]
    batch_sizes: tuple[int, ...]
    turns: tuple[int, ...] | None = None
    seed: int = 0
    shuffle: bool = True
    alternate: bool = False
    drop_last: bool = True

    def batches(self, source: int) -> int:
        """Batches that a source's rows make.

        Args:
            source: Its number in `sizes`, from 0.
        """
        full, rest = divmod(self.sizes[source], self.batch_sizes[source])
        return full if self.drop_last and full else full + bool(rest)

    @property
    def steps_of(self) -> tuple[int, ...]:
        """Steps of each source in an epoch."""
        return self.turns or tuple(self.batches(source) for source in range(len(self.sizes)))

    def __len__(self) -> int:
        """Steps of an epoch."""
        return sum(self.steps_of)

    def turn(self, step: int) -> tuple[int, int]:
        """Whose turn a step is, and how many turns that source has had before, in all epochs.

        Args:
            step: k ≥ 0, counted through all epochs.
        """
        if len(self.sizes) == 1:
            return 0, step
        epoch, place = divmod(step, len(self))
        key = (self.seed * 1_000_003 + epoch) * 1_009 if self.shuffle else 0
        source, before = _schedule(self.steps_of, key, self.shuffle, self.alternate)[:, place].tolist()
        return source, epoch * self.steps_of[source] + before

    def rows_of(self, steps: int) -> int:
        """Rows of the first steps, through all epochs.

        Args:
            steps: How many steps.
        """
        sizes = [min(size, rows) for size, rows in zip(self.batch_sizes, self.sizes, strict=True)]
        epochs, rest = divmod(steps, max(1, len(self)))
        whole = epochs * sum(size * turns for size, turns in zip(sizes, self.steps_of, strict=True))
        return whole + sum(sizes[self.turn(step)[0]] for step in range(epochs * len(self), epochs * len(self) + rest))

    def batch(self, source: int, turn: int) -> Step:
        """The rows of a source's turn.

        Args:
            source: Its number in `sizes`, from 0.
            turn: How many turns it has had before.
        """
        epoch, place = divmod(turn, self.batches(source))
        size, rows_each = self.sizes[source], self.batch_sizes[source]
        rows = np.arange(place * rows_each, min((place + 1) * rows_each, size), dtype=np.int64)
        key = (self.seed * 1_000_003 + epoch) * 1_009 + 1 + source
        return Step(source, permute(rows, size, key) if self.shuffle else rows, epoch, key)

    def __getitem__(self, step: int) -> Step:
        """The rows of a step.

        Args:
            step: k ≥ 0, counted through all epochs.
        """
        return self.batch(*self.turn(step))
