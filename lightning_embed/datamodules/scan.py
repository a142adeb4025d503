"""One pass over all rows of a table, batch by batch."""

from collections.abc import Iterator
from typing import Any


def arrow_batches(table: Any, columns: list[str]) -> Iterator[Any]:
    """Record batches of some columns in the order of the rows, read and let go one after the other.

    The files are read rather than mapped, so that a pass over all rows does not keep them in memory.

    Args:
        table: A `datasets.Dataset`.
        columns: Which columns.
    """
    import pyarrow as pa

    files = [entry["filename"] for entry in table.cache_files]
    if files and table._indices is None and sum(map(_rows_in, files)) == len(table):
        for file in files:
            with pa.OSFile(file) as stream:
                for batch in pa.ipc.open_stream(stream):
                    yield batch.select(columns)
        return
    chosen = table.select_columns(columns).with_format("arrow")
    for part in chosen.iter(batch_size=10_000):
        yield from part.combine_chunks().to_batches()


def _rows_in(file: str) -> int:
    """Rows of an Arrow file; a part of a split has fewer than its files."""
    import pyarrow as pa

    with pa.memory_map(file) as stream:
        return sum(len(batch) for batch in pa.ipc.open_stream(stream))
