"""The plan: which rows are step k, as a pure function of (seed, k).

Nothing is drawn and nothing is kept: a run that was killed goes on at any step, in no time, with any number of workers or ranks, and
reads the same rows in the same order. Shuffles are real permutations of the whole, computed element by element.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ROUNDS = 6
_MIX = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


def _mix(values: NDArray[np.uint64], key: int) -> NDArray[np.uint64]:
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
            left, right = right, left ^ (_mix(right, key * ROUNDS + turn) & low)
        out[outside] = (left << np.uint64(half)) | right
        outside = out >= np.uint64(size)
    return out.astype(np.int64)


@dataclass(frozen=True)
class Step:
    """The rows of one step: all from one source."""

    source: int
    rows: NDArray[np.int64]
    epoch: int


@dataclass(frozen=True)
class Plan:
    """Cuts the sources into global batches of one source each, and puts them in order.

    In each epoch each row is used once (what does not fill a batch waits for the next epoch's shuffle), and a source's batches come
    in proportion to its size, in random order.

    Args:
        sizes: Rows of each source.
        batch_size: G, rows of a global batch.
        seed: Which order.
        shuffle: Whether rows and batches are shuffled.
        drop_last: Whether rows that do not fill a batch are left out; if not, a source ends with a smaller batch.
    """

    sizes: tuple[int, ...]
    batch_size: int
    seed: int = 0
    shuffle: bool = True
    drop_last: bool = True

    def _batches(self, size: int) -> int:
        full, rest = divmod(size, self.batch_size)
        return full if self.drop_last and full else full + bool(rest)

    def __len__(self) -> int:
        """Steps of an epoch."""
        return sum(self._batches(size) for size in self.sizes)

    def __getitem__(self, step: int) -> Step:
        """The rows of a step.

        Args:
            step: k ≥ 0, counted through all epochs.
        """
        epoch, place = divmod(step, len(self))
        key = (self.seed * 1_000_003 + epoch) * 1_009
        if self.shuffle:
            place = int(permute(np.array([place]), len(self), key)[0])
        source = 0
        while place >= self._batches(self.sizes[source]):
            place -= self._batches(self.sizes[source])
            source += 1
        size = self.sizes[source]
        rows = np.arange(place * self.batch_size, min((place + 1) * self.batch_size, size), dtype=np.int64)
        return Step(source, permute(rows, size, key + 1 + source) if self.shuffle else rows, epoch)

    def share(self, step: int, rank: int, world: int) -> Step:
        """One rank's part of a step: every world-th row.

        Args:
            step: k ≥ 0.
            rank: Which rank.
            world: W, number of ranks.
        """
        whole = self[step]
        return Step(whole.source, whole.rows[rank::world], whole.epoch)
