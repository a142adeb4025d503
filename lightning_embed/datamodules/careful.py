"""Reads JSON and CSV files row by row, slowly, where a fast reader stumbles.

No row is lost: each is kept with its place in the files and, if it cannot be read, with what is wrong with it. Types are settled by all
rows together, so that neither the first row nor the first megabytes decide what the others must be.
"""

import csv
import json
import os
import re
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from lightning_embed import __version__
from lightning_embed.batch import ROLES
from lightning_embed.datamodules.bad_rows import BadRow, BadRows
from lightning_embed.datamodules.columns import DOCUMENT, LABEL, SCORE, may_play, passage, role_of
from lightning_embed.datamodules.files import broken_file, fingerprint, is_array, open_bytes, open_text
from lightning_embed.datamodules.sources import Source
from lightning_embed.datamodules.table import Table
from lightning_embed.errors import UserError

MARKS = WHERE, FAULT, COLUMN = "_where", "_fault", "_column"
"""Columns of the table that say where a row stands, what is wrong with it, and in which column."""
READ = 1000
NULL, TEXT, TEXTS, NUMBER, NUMBERS = "nothing", "a text", "a list of texts", "a number", "a list of numbers"
BOOL, EMPTY = "true or false", "an empty list"
_NULL_ROW = re.compile(rb"}\s*null")
csv.field_size_limit(1 << 30)

Parsed = dict[str, Any] | str
"""A row, or what is wrong with it."""


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
        kept.parent.mkdir(parents=True, exist_ok=True)
        found = _survey(parsed(files, name), source, bad_rows)
        settled = {
            key: pa.string() if name in ("csv", "tsv") else _settle(role_of(source, key), kinds) for key, kinds in found.items()
        }
        fields = {key: kind for key, kind in settled.items() if kind is not None}
        schema = pa.schema([*fields.items(), *((mark, pa.string()) for mark in MARKS)])
        part = kept.with_suffix(f".{os.getpid()}.part")
        try:
            with pa.ipc.new_stream(part, schema) as stream:
                batch = []
                for where, row in parsed(files, name):
                    batch.append(_fitted(where, row, fields, source))
                    if batch[-1][FAULT] is not None:
                        _stop(source, bad_rows, BadRow(where, batch[-1][COLUMN], batch[-1][FAULT]))
                    if len(batch) == READ:
                        stream.write_batch(pa.RecordBatch.from_pylist(batch, schema))
                        batch = []
                stream.write_batch(pa.RecordBatch.from_pylist(batch, schema))
            part.rename(kept)
        finally:
            part.unlink(missing_ok=True)
    return Table([str(kept)])


def _kept(source: Source, files: list[str], name: str) -> Path:
    from datasets import config

    stamp = fingerprint("all rows", __version__, name, files, source.columns)
    return Path(config.HF_DATASETS_CACHE) / "lightning_embed" / f"{stamp}.arrow"


def has_read(source: Source, files: list[str], name: str) -> bool:
    """Whether `read` has made the table before.

    Args:
        source: As for `read`.
        files: As for `read`.
        name: As for `read`.
    """
    return _kept(source, files, name).is_file()


def is_plain(file: str) -> bool:
    """Whether every line of a JSON file begins an object. A line `null` kills the process that has pyarrow read it.

    Args:
        file: The file.
    """
    try:
        with open_bytes(file) as lines:
            return all(line.isspace() or (line.lstrip()[:1] == b"{" and not _NULL_ROW.search(line)) for line in lines)
    except broken_file():
        return False


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
    """Key -> how often which kind of value stands under it."""
    kinds: dict[str, Counter[str]] = {}
    for where, row in rows:
        if isinstance(row, str):
            _stop(source, bad_rows, BadRow(where, None, row))
            continue
        for key, value in row.items():
            kinds.setdefault(key, Counter())[_kind(value)] += 1
    return kinds


def _settle(role: str | None, kinds: Counter[str]) -> Any:
    """The Arrow type of a column: that of its role, else that of most of its values; None where there is no use for them."""
    import pyarrow as pa

    texts, numbers = kinds[TEXT] + kinds[TEXTS], kinds[NUMBER] + kinds[NUMBERS]
    if (role in ROLES and (texts or not numbers)) or (
        role != SCORE and texts >= max(numbers, kinds[BOOL]) and texts + kinds[NULL] > 0
    ):
        return pa.list_(pa.string()) if kinds[TEXTS] or (kinds[EMPTY] and not texts) else pa.string()
    if role == SCORE or numbers > kinds[BOOL]:
        number = pa.int64() if role in (LABEL, DOCUMENT) else pa.float64()
        return pa.list_(number) if kinds[NUMBERS] > kinds[NUMBER] else number
    return pa.bool_() if kinds[BOOL] else None


def _kind(value: Any) -> str:
    """What a value is, as far as it matters here."""
    if value is None:
        return NULL
    if isinstance(value, str) or (isinstance(value, dict) and isinstance(value.get("text"), str)):
        return TEXT
    if isinstance(value, bool):
        return BOOL
    if isinstance(value, int | float):
        return NUMBER if isinstance(value, float) or -(1 << 63) <= value < 1 << 63 else "a number beyond 64 bits"
    if isinstance(value, list):
        inside = {_kind(item) for item in value} - {NULL}
        lists = {(): EMPTY, (TEXT,): TEXTS, (NUMBER,): NUMBERS}
        return lists.get(tuple(inside), "a list of other things")
    return "an object"


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

    given, listed = _kind(value), pa.types.is_list(kind)
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


def parsed(files: list[str], name: str) -> Iterator[tuple[str, Parsed]]:
    """Place and content of each row, or what is wrong with it.

    Args:
        files: JSON-lines, JSON, CSV or TSV files.
        name: `json`, `jsonl`, `csv` or `tsv`.
    """
    for file in files:
        try:
            if name in ("csv", "tsv"):
                yield from _csv_rows(file, "\t" if name == "tsv" else ",")
            else:
                yield from _array(file) if is_array(file) else _json_lines(file)
        except broken_file() as error:
            yield file, f"the rest cannot be read ({str(error) or type(error).__name__})"


def csv_head(files: list[str], name: str) -> list[str]:
    """The column names of CSV files.

    Args:
        files: The files.
        name: `csv` or `tsv`.

    Raises:
        ValueError: If a file's first row does not fit them; a fast reader would guess what is meant.
    """
    heads = []
    for file in files:
        place, row = next(_csv_rows(file, "\t" if name == "tsv" else ","), (file, "no rows"))
        if isinstance(row, str):
            raise ValueError(f"{place}: {row}")
        heads.append(list(row))
    return heads[0]


def _json_lines(file: str) -> Iterator[tuple[str, Parsed]]:
    with open_bytes(file) as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield f"{file}, line {number}", _parse(line)


def _array(file: str) -> Iterator[tuple[str, Parsed]]:
    """The objects of a file that is one JSON array."""
    with open_bytes(file) as stream:
        try:
            rows = json.loads(stream.read())
        except (ValueError, RecursionError) as error:
            yield file, f"expected a JSON array ({error})"
            return
    for number, row in enumerate(rows, start=1):
        yield f"{file}, row {number}", _checked(row)


def _parse(line: bytes) -> Parsed:
    """A line's JSON object, or what is wrong with it."""
    try:
        text = line.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return f"expected UTF-8, got byte 0x{error.object[error.start]:02x} at position {error.start}"
    try:
        return _checked(json.loads(text))
    except (ValueError, RecursionError) as error:
        return f"expected a JSON object, got {text.strip()[:60]!r} ({str(error)[:80]})"


def _checked(row: Any) -> Parsed:
    if not isinstance(row, dict):
        return f"expected a JSON object, got {_kind(row)}"
    return "a text holds half a surrogate pair, which is no character" if _lone_surrogate(row) else row


def _lone_surrogate(value: Any) -> bool:
    if isinstance(value, str):
        return not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value)
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(_lone_surrogate(item) for item in items)


def _csv_rows(file: str, separator: str) -> Iterator[tuple[str, Parsed]]:
    """The rows of a CSV file; where a bad row spans several lines (a quote that nobody closes), only its first line is given up."""
    with open_text(file) as stream:
        ahead: deque[str] = deque()
        taken: list[str] = []

        def lines() -> Iterator[str]:
            while line := ahead.popleft() if ahead else stream.readline():
                taken.append(line)
                yield line

        head: list[str] | None = None
        number = 1
        while True:
            taken.clear()
            wrong = None
            try:
                cells = next(csv.reader(lines(), delimiter=separator, strict=True), [])
            except csv.Error as error:
                cells, wrong = [], str(error)
            if not taken:
                return
            if head is None:
                head = cells
                twice = [cell for cell, times in Counter(head).items() if times > 1]
                if twice:
                    raise UserError(f"{file}, line {number}: the column '{twice[0]}' stands twice; rename one")
            elif cells or wrong:
                if wrong is None and len(cells) != len(head):
                    wrong = f"expected {len(head)} cells, got {len(cells)}"
                elif wrong is None and _lone_surrogate(cells):
                    wrong = "expected UTF-8, got other bytes"
                if wrong:
                    ahead.extendleft(reversed(taken[1:]))
                    del taken[1:]
                yield f"{file}, line {number}", wrong or {k: cell or None for k, cell in zip(head, cells, strict=True)}
            number += len(taken)
