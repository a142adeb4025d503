"""Reads JSON and CSV files row by row, slowly, where a fast reader stumbles.

No row is lost: each is kept with its place in the files and, if it cannot be read, with what is wrong with it. Types are settled by all
rows together, so that neither the first row nor the first megabytes decide what the others must be.
"""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lightning_embed.batch import ROLES
from lightning_embed.compat.datasets import cache_folder
from lightning_embed.datamodules.sources.bad_rows import BadRow, BadRows
from lightning_embed.datamodules.sources.columns import DOCUMENT, SCORE, may_play, number_of, passage, role_of
from lightning_embed.datamodules.sources.files import fingerprint
from lightning_embed.datamodules.sources.raw_rows import (
    BOOL,
    EMPTY,
    NULL,
    NUMBER,
    NUMBERS,
    TEXT,
    TEXTS,
    Parsed,
    kind_of,
    parsed,
)
from lightning_embed.datamodules.sources.source import Source
from lightning_embed.datamodules.sources.table import Table
from lightning_embed.utils.atomic import whole_file
from lightning_embed.utils.version import __version__

MARKS = WHERE, FAULT, COLUMN = "_where", "_fault", "_column"
"""Columns of the table that say where a row comes from, what is wrong with it, and in which column."""
READ = 1000


def read(source: Source, files: list[str], name: str, bad_rows: BadRows) -> Table:
    """A table of all rows, unreadable ones included: see `WHERE`, `FAULT`, `COLUMN`. Made once and kept in the cache.

    Args:
        source: Whose files these are.
        files: JSON-lines, JSON, CSV or TSV files.
        name: `json`, `jsonl`, `csv` or `tsv`.
        bad_rows: Unless they are to be skipped, the first one stops the reading.

    Raises:
        UserError: At the first row that cannot be read, unless such rows are skipped.
    """
    import pyarrow as pa

    kept = _kept(source, files, name)
    if not kept.is_file():
        found = _survey(parsed(files, name, source.delimiter), source, bad_rows)
        settled = {
            key: pa.string() if name in ("csv", "tsv") else _settle(role_of(source, key, found), kinds)
            for key, kinds in found.items()
        }
        fields = {key: kind for key, kind in settled.items() if kind is not None}
        schema = pa.schema([*fields.items(), *((mark, pa.string()) for mark in MARKS)])
        with whole_file(kept) as partial, pa.ipc.new_stream(partial, schema) as stream:
            batch = []
            for where, row in parsed(files, name, source.delimiter):
                batch.append(_fitted(where, row, fields, source))
                if batch[-1][FAULT] is not None:
                    _stop(source, bad_rows, BadRow(where, batch[-1][COLUMN], batch[-1][FAULT]))
                if len(batch) == READ:
                    stream.write_batch(pa.RecordBatch.from_pylist(batch, schema))
                    batch = []
            stream.write_batch(pa.RecordBatch.from_pylist(batch, schema))
    return Table([str(kept)])


def _kept(source: Source, files: list[str], name: str) -> Path:
    key = fingerprint("all rows", __version__, name, files, source.columns, source.delimiter)
    return cache_folder() / "lightning_embed" / f"{key}.arrow"


def has_read(source: Source, files: list[str], name: str) -> bool:
    """Whether `read` has made the table before.

    Args:
        source: As for `read`.
        files: As for `read`.
        name: As for `read`.
    """
    return _kept(source, files, name).is_file()


def faults(table: Table) -> dict[int, tuple[str | None, str]]:
    """Row -> column and reason of the rows that could not be read; none for a table that another reader made.

    Args:
        table: The rows.
    """
    import pyarrow.compute as pc

    found: dict[int, tuple[str | None, str]] = {}
    if FAULT in table.columns:
        start = 0
        for batch in table.batches([FAULT, COLUMN]):
            rows = pc.indices_nonzero(pc.is_valid(batch.column(0)))
            bad = batch.take(rows).to_pydict()
            found |= {start + row: (c, f) for row, f, c in zip(rows.to_pylist(), bad[FAULT], bad[COLUMN], strict=True)}
            start += len(batch)
    return found


def _stop(source: Source, bad_rows: BadRows, row: BadRow) -> None:
    if not bad_rows.skip:
        bad_rows.judge(source.title, [row], 1)


def _survey(rows: Iterable[tuple[str, Parsed]], source: Source, bad_rows: BadRows) -> dict[str, Counter[str]]:
    """Key -> how often it has which kind of value."""
    kinds: dict[str, Counter[str]] = {}
    for where, row in rows:
        if isinstance(row, str):
            _stop(source, bad_rows, BadRow(where, None, row))
            continue
        for key, value in row.items():
            kinds.setdefault(key, Counter())[kind_of(value)] += 1
    return kinds


def _settle(role: str | None, kinds: Counter[str]) -> Any:
    """The Arrow type of a column: that of its role, else that of most of its values; None where they are of no use."""
    import pyarrow as pa

    texts, numbers = kinds[TEXT] + kinds[TEXTS], kinds[NUMBER] + kinds[NUMBERS]
    if (role in ROLES and (texts or not numbers)) or (
        role != SCORE and texts >= max(numbers, kinds[BOOL]) and texts + kinds[NULL] > 0
    ):
        return pa.list_(pa.string()) if kinds[TEXTS] or (kinds[EMPTY] and not texts) else pa.string()
    if role == SCORE or numbers > kinds[BOOL]:
        number = pa.int64() if role == DOCUMENT else pa.float64()  # labels of pairs may be graded
        return pa.list_(number) if kinds[NUMBERS] > kinds[NUMBER] else number
    return pa.bool_() if kinds[BOOL] else None


def _fitted(where: str, row: Parsed, fields: dict[str, Any], source: Source) -> dict[str, Any]:
    """A row as its columns' types have it; without values, but with its fault, if it does not fit them."""
    if isinstance(row, str):
        return {WHERE: where, FAULT: row, COLUMN: None}
    out: dict[str, Any] = {WHERE: where, FAULT: None, COLUMN: None}
    for key, kind in fields.items():
        try:
            out[key] = _fit(row.get(key), kind)
        except TypeError as error:
            if may_play(source, key, fields):
                return {WHERE: where, FAULT: str(error), COLUMN: key}
    return out


def _fit(value: Any, kind: Any) -> Any:
    """A value as an Arrow type has it.

    Raises:
        TypeError: If it is of another type.
    """
    import pyarrow as pa

    listed = pa.types.is_list(kind)
    if isinstance(value, str) and pa.types.is_floating(kind) and number_of(value) is not None:
        return number_of(value)
    given = kind_of(value)
    inner = kind.value_type if listed else kind
    expected = TEXT if pa.types.is_string(inner) else BOOL if pa.types.is_boolean(inner) else NUMBER
    if given in (NULL, EMPTY):
        return [] if listed and given == EMPTY else None
    several = given == {TEXT: TEXTS, NUMBER: NUMBERS}.get(expected)
    if given != expected and not (listed and several):
        raise TypeError(f"expected {f'{expected} or a list of them' if listed else expected}, got {given}")
    if pa.types.is_int64(inner) and any(v != int(v) for v in (value if several else [value])):
        raise TypeError(f"expected a whole number, got {value}")
    values = [passage(item) for item in value] if several else [passage(value)]
    return values if listed else values[0]
