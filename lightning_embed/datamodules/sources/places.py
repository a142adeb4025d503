"""Names rows by file and line, or by file and row, for messages."""

from collections.abc import Iterator
from pathlib import Path

from lightning_embed.datamodules.sources import arrow_files
from lightning_embed.datamodules.sources.files import is_array, open_bytes
from lightning_embed.datamodules.sources.paths import CORPUS, kind_of
from lightning_embed.datamodules.sources.raw_rows import parsed
from lightning_embed.datamodules.sources.row_by_row import WHERE
from lightning_embed.datamodules.sources.source import Source
from lightning_embed.datamodules.sources.table import Table


def places(rows: list[int], table: Table, files: list[str], source: Source) -> dict[int, str]:
    """Row number -> "file, line n" for JSON lines and CSV, else "file, row n".

    Args:
        rows: Row numbers from 0, ascending.
        table: What they are of.
        files: The files that it was read from, in order.
        source: Says their format.
    """
    if WHERE in table.columns:
        return dict(zip(rows, table.take(rows, [WHERE])[WHERE], strict=True))
    wanted, found, count = set(rows), {}, 0
    for count, where in enumerate(_each(files, source), start=1):
        if count - 1 in wanted:
            found[count - 1] = where
    if count == len(table):
        return found
    return {row: f"{', '.join(files)}, row {row + 1}" for row in rows}


def _each(files: list[str], source: Source) -> Iterator[str]:
    """The place of each row."""
    for file in files:
        kind = kind_of(source, file) if Path(file).is_file() else None
        if kind in ("csv", "tsv"):
            yield from (where for where, _ in parsed([file], kind, source.delimiter))
        elif kind == CORPUS or (kind == "json" and not is_array(file)):
            with open_bytes(file) as lines:
                yield from (f"{file}, line {n}" for n, line in enumerate(lines, start=1) if line.strip())
        elif kind in arrow_files.BEGINNINGS:
            yield from (f"{file}, row {n + 1}" for n in range(arrow_files.row_count(source, file, kind)))
