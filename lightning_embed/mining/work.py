"""The work folder and this process's share of it: blocks are made by several processes and waited for."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_embed.mining.blocks import Blocks
from lightning_embed.utils.activity import Count

LOOK_SECONDS = 0.5


@dataclass(frozen=True)
class Work:
    """Where the work is kept, and which share of it is this process's."""

    folder: Path
    """The work folder, shared by all processes."""
    shard: int = 0
    """Which share."""
    shards: int = 1
    """How many there are."""
    alive: Callable[[], None] = lambda: None
    """Raises if a process that is waited for is gone."""

    @property
    def first(self) -> bool:
        """Whether it does what only one process does."""
        return self.shard == 0

    def blocks(self, name: str, shape: tuple[int, int], dtype: Any, block: int) -> Blocks:
        """Blocks in the work folder.

        Args:
            name: The file's name.
            shape: Rows and columns.
            dtype: Type of the numbers.
            block: Rows of a block.
        """
        return Blocks(self.folder / name, shape, dtype, block)

    def fill(self, blocks: Blocks, title: str, make: Callable[[int], None]) -> None:
        """Makes this process's missing blocks.

        Args:
            blocks: A matrix on disk, of which each process makes its share of blocks.
            title: What is done, for the bar.
            make: Makes and writes a block.
        """
        missing = blocks.missing(self.shard, self.shards)
        if not missing:
            return
        with self.count(title, blocks) as count:
            for block in missing:
                make(block)
                count.update(_rows_done(blocks))

    def wait(self, blocks: Blocks, title: str) -> None:
        """Waits until all processes' blocks are there.

        Args:
            blocks: A matrix on disk, of which each process makes its share of blocks.
            title: What is waited for.
        """
        if blocks.done().all():
            return
        with self.count(f"{title}: the other processes", blocks) as count:
            while not blocks.done().all():
                self.alive()
                count.update(_rows_done(blocks))
                time.sleep(LOOK_SECONDS)

    def count(self, title: str, blocks: Blocks) -> Count:
        """Shows how many rows of a matrix on disk are there.

        Args:
            title: What is done.
            blocks: The matrix.
        """
        return Count(title, blocks.shape[0], "rows", _rows_done(blocks), shown=self.first)

    def wait_for(self, file: Path) -> None:
        """Waits until a file is there.

        Args:
            file: What the first process writes.
        """
        while not file.exists():
            self.alive()
            time.sleep(LOOK_SECONDS)


def _rows_done(blocks: Blocks) -> int:
    return min(blocks.shape[0], int(blocks.done().sum()) * blocks.block)
