"""Table: rows in Arrow files, read through batch by batch or taken by number, of which memory holds next to nothing."""

import mmap
import os
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any

from lightning_embed.compat.datasets import cache_folder, fingerprint_of, has_all_rows
from lightning_embed.errors import UserError
from lightning_embed.utils.atomic import whole_folder

KEPT_PAGES = 1_000
"""Rows taken until the pages that they were read from are let go."""
SMALL = 256 << 20
"""Bytes of files whose pages are kept: letting go costs more than half the speed of reading."""


class Table:
    """The rows of some Arrow files (streams, as `datasets` writes them), which stay on disk.

    The files are mapped. A mapped page counts as resident memory, and an epoch of random rows would map the whole corpus: so the pages
    read of large files are let go after a while. A pass over all rows reads the files instead.

    Args:
        files: The files, all with the same columns.
    """

    def __init__(self, files: list[str]) -> None:
        import pyarrow as pa

        self.files = list(files)
        self.schema = pa.schema([])
        self._maps: list[mmap.mmap] = []
        self._batches: list[Any] = []
        self._file_of: list[int] = []
        for number, file in enumerate(self.files):
            with open(file, "rb") as opened:
                mapped = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
            with pa.ipc.open_stream(pa.py_buffer(mapped)) as stream:
                self.schema = stream.schema
                for batch in stream:
                    self._batches.append(batch)
                    self._file_of.append(number)
            self._maps.append(mapped)
            self._let_go(mapped)
        self._starts = [0, *accumulate(map(len, self._batches))]
        self._taken = 0
        self._small = sum(map(len, self._maps)) <= SMALL

    @staticmethod
    def of(dataset: Any) -> "Table":
        """The table of a `datasets.Dataset`; one that is in memory or a part of its files is written to the cache first.

        Args:
            dataset: The data set.
        """
        import datasets

        files = [entry["filename"] for entry in dataset.cache_files]
        table = Table(files) if files and has_all_rows(dataset) else None
        if table is None or len(table) != len(dataset):
            folder = cache_folder() / "lightning_embed" / fingerprint_of(dataset)
            if not folder.is_dir():
                with whole_folder(folder, replace=False) as partial:
                    dataset.save_to_disk(partial)
            table = Table([entry["filename"] for entry in datasets.load_from_disk(folder).cache_files])
        return table

    def __reduce__(self) -> tuple[type["Table"], tuple[list[str]]]:
        return Table, (self.files,)

    def __len__(self) -> int:
        return self._starts[-1]

    @property
    def columns(self) -> list[str]:
        """The names of its columns."""
        return list(self.schema.names)

    def batches(self, columns: list[str]) -> Iterator[Any]:
        """Record batches of some columns in the order of the rows, read and let go one after the other.

        Args:
            columns: Their names in the table; no others are read from the disk.
        """
        import pyarrow as pa

        for file in self.files:
            with pa.OSFile(file) as stream:
                for batch in pa.ipc.open_stream(stream):
                    yield batch.select(columns)

    def take(self, rows: Sequence[int], columns: list[str]) -> dict[str, list[Any]]:
        """Column -> values of some rows.

        Args:
            rows: Row numbers from 0, in any order.
            columns: Their names in the table; no others are read from the disk.

        Raises:
            UserError: If a file has shrunk since it was opened.
        """
        places = [(bisect_right(self._starts, row) - 1, row) for row in rows]
        for number in {self._file_of[batch] for batch, _ in places}:
            if os.path.getsize(self.files[number]) < len(self._maps[number]):  # reading what is gone kills the process
                raise UserError(f"{self.files[number]} became smaller while it was being read; start again")
        numbers = [self.schema.get_field_index(column) for column in columns]
        taken = {
            column: [self._batches[batch].column(number)[row - self._starts[batch]].as_py() for batch, row in places]
            for column, number in zip(columns, numbers, strict=True)
        }
        self._taken += len(rows)
        if self._taken > KEPT_PAGES and not self._small:
            self._let_go(*self._maps)
            self._taken = 0
        return taken

    @staticmethod
    def _let_go(*maps: mmap.mmap) -> None:
        """Tells the system that the pages read are not needed."""
        for mapped in maps if hasattr(mmap, "MADV_DONTNEED") else ():
            mapped.madvise(mmap.MADV_DONTNEED)
