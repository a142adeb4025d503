"""Rows of numbers on disk, written block by block by any number of processes, each block once."""

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Blocks:
    """A matrix in a file, beside a file that has a byte for each block of rows: 1 once the block is written.

    Several processes write their blocks into the one file as it grows, so it cannot be written atomically (utils.atomic).

    A process that is killed leaves whole blocks, and at most one that is not marked and is written again.

    Args:
        file: The matrix's file; `FILE.done` holds the marks. Both are made, if need be, on opening.
        shape: Rows and columns.
        dtype: Type of its numbers.
        block: Rows of a block.
    """

    def __init__(self, file: Path, shape: tuple[int, int], dtype: Any, block: int) -> None:
        self.file, self.shape, self.dtype, self.block = file, shape, np.dtype(dtype), block
        self.count = -(-shape[0] // block)
        self._marks = file.with_name(file.name + ".done")
        file.parent.mkdir(parents=True, exist_ok=True)
        for path, size in ((file, shape[0] * self._row_bytes), (self._marks, self.count)):
            with path.open("ab") as stream:  # opened to append and given its size: what another process wrote stays
                stream.truncate(size)

    @property
    def _row_bytes(self) -> int:
        return self.shape[1] * self.dtype.itemsize

    def rows(self, block: int) -> slice:
        """Which rows are in a block.

        Args:
            block: Its number.
        """
        return slice(block * self.block, min(self.shape[0], (block + 1) * self.block))

    def done(self) -> NDArray[np.bool_]:
        """(count,) which blocks are written."""
        return np.frombuffer(self._marks.read_bytes(), dtype=np.uint8) == 1

    def missing(self, shard: int = 0, shards: int = 1) -> list[int]:
        """Blocks of a shard that are not written yet: every `shards`-th from the `shard`-th on.

        Args:
            shard: Which shard.
            shards: How many there are.
        """
        return [int(b) for b in np.flatnonzero(~self.done()) if b % shards == shard]

    def write(self, block: int, values: NDArray[Any]) -> None:
        """Writes a block and marks it once it is on the disk.

        Args:
            block: Its number.
            values: (its rows, columns).
        """
        rows = self.rows(block)
        assert values.shape == (rows.stop - rows.start, self.shape[1])
        data = memoryview(np.ascontiguousarray(values, dtype=self.dtype).tobytes())
        _write(self.file, data, rows.start * self._row_bytes)
        _write(self._marks, memoryview(b"\x01"), block)

    def array(self) -> NDArray[Any]:
        """The matrix, memory-mapped."""
        return np.memmap(self.file, dtype=self.dtype, mode="r", shape=self.shape)


def _write(file: Path, data: memoryview, place: int) -> None:
    handle = os.open(file, os.O_WRONLY)
    try:
        while len(data):
            wrote = os.pwrite(handle, data, place)
            data, place = data[wrote:], place + wrote
        os.fsync(handle)
    finally:
        os.close(handle)
