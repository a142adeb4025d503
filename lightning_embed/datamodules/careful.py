"""Reads JSON-lines and CSV files row by row, slowly, to find the rows that a fast reader stumbles over."""

import csv
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lightning_embed.datamodules.bad_rows import BadRow
from lightning_embed.datamodules.files import fingerprint, open_bytes, open_text
from lightning_embed.errors import UserError

csv.field_size_limit(1 << 30)


def explain_unreadable(error: Exception, title: str, files: list[str], kind: str) -> UserError:
    """A line that names the file, and for JSON and CSV the line, that could not be read.

    Args:
        error: What the reader raised.
        title: The source's name.
        files: Its files.
        kind: Their format.
    """
    for file in [file for file in files if kind in ("json", "csv") and not _is_array(file)]:
        try:
            bad = next((bad for _, bad in _judged(file, kind) if bad is not None), None)
        except (OSError, EOFError) as broken:
            bad = BadRow(file, None, f"{type(broken).__name__}: {broken}")
        if bad is not None:
            return UserError(
                f"source '{title}': {bad}; mend or delete the line, or leave such rows out with on_bad_row: skip"
            )
    if len(files) > 1:
        files = [file for file in files if not _readable(file, kind)] or files
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    reason = " ".join(str(cause).split())[:200] or type(cause).__name__
    return UserError(f"source '{title}': {', '.join(files)} could not be read as {kind}: {reason}")


def _is_array(file: str) -> bool:
    """Whether a JSON file is one array instead of an object a line."""
    try:
        with open_bytes(file) as stream:
            return stream.read(64).lstrip()[:1] == b"["
    except (OSError, EOFError):
        return False


def _readable(file: str, kind: str) -> bool:
    """Whether a Parquet file opens by itself (of several, only some may be broken)."""
    import pyarrow.parquet as pq

    if kind != "parquet":
        return False
    try:
        whole = pq.ParquetFile(file)
        for group in range(whole.num_row_groups):
            whole.read_row_group(group)
    except Exception:  # any of Arrow's errors: it is the broken one
        return False
    return True


def _judged(file: str, kind: str) -> Iterator[tuple[bytes, BadRow | None]]:
    """Each row's bytes, and what is wrong with it."""
    return _judged_json(file) if kind == "json" else _judged_csv(file, "\t" if ".tsv" in Path(file).suffixes else ",")


def _judged_json(file: str) -> Iterator[tuple[bytes, BadRow | None]]:
    kinds: dict[str, Any] = {}
    with open_bytes(file) as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield line, _bad_json(line, f"{file}, line {number}", kinds)


def _bad_json(line: bytes, where: str, kinds: dict[str, Any]) -> BadRow | None:
    """What is wrong with a line, given the types of each key in the lines before."""
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        return BadRow(where, None, f"expected UTF-8, got byte 0x{line[error.start]:02x} at position {error.start}")
    try:
        row = json.loads(text)
    except (ValueError, RecursionError) as error:
        return BadRow(where, None, f"expected a JSON object, got {text.strip()[:60]!r} ({str(error)[:80]})")
    if not isinstance(row, dict):
        return BadRow(where, None, f"expected a JSON object, got a {type(row).__name__}")
    if "\\u" in text and _lone_surrogate(row):
        return BadRow(where, None, "a text holds half a surrogate pair, which is no character")
    for key, value in row.items():
        kind, known = _kind(value), kinds.get(key)
        if kind == "mixed" or (kind is not None and known is not None and not _agree(known, kind)):
            return BadRow(where, key, f"expected {_name(known)}, got {_name(kind)}")
    for key, value in row.items():
        kinds[key] = _wider(kinds.get(key), _kind(value))
    return None


def _kind(value: Any) -> Any:
    """The type of a JSON value: a name, ("list", kind of its items), "mixed", or None where it says nothing (null)."""
    if value is None:
        return None
    if isinstance(value, list):
        inner: Any = None
        for item in value:
            kind = _kind(item)
            if inner is not None and kind is not None and not _agree(inner, kind):
                return "mixed"
            inner = _wider(inner, kind)
        return ("list", inner)
    if isinstance(value, bool):
        return "bool"
    return {str: "text", int: "number", float: "number"}.get(type(value), "object")


def _agree(one: Any, other: Any) -> bool:
    if isinstance(one, tuple) and isinstance(other, tuple):
        return one[1] is None or other[1] is None or _agree(one[1], other[1])
    return one == other


def _wider(one: Any, other: Any) -> Any:
    """The more telling of two kinds that agree."""
    return other if one is None or one == ("list", None) else one


def _name(kind: Any) -> str:
    if isinstance(kind, tuple):
        return "a list" if kind[1] is None else f"a list of {kind[1] if isinstance(kind[1], str) else 'lists'}"
    return {"mixed": "a list of several types", "text": "a text", "number": "a number"}.get(kind, f"a {kind}")


def _lone_surrogate(value: Any) -> bool:
    if isinstance(value, str):
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            return True
        return False
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(_lone_surrogate(item) for item in items)


def _judged_csv(file: str, separator: str) -> Iterator[tuple[bytes, BadRow | None]]:
    with open_text(file) as lines:
        reader = csv.reader(lines, delimiter=separator)
        head: list[str] | None = None
        while True:
            where = f"{file}, line {reader.line_num + 1}"
            try:
                cells = next(reader, None)
            except csv.Error as error:
                yield b"", BadRow(where, None, str(error))
                continue
            if cells is None:
                return
            if not cells:
                continue
            head = head or cells
            bad = None
            if len(cells) != len(head):
                bad = BadRow(where, None, f"expected {len(head)} cells, got {len(cells)}")
            elif _lone_surrogate(cells):
                bad = BadRow(where, None, "expected UTF-8, got other bytes")
            row = io.StringIO()
            csv.writer(row, delimiter=separator, lineterminator="\n").writerow(cells)
            yield row.getvalue().encode("utf-8", "surrogateescape"), bad


def clean_copy(file: str, name: str) -> tuple[str, list[BadRow]]:
    """A copy of a file without its unreadable rows, kept in the cache, and what was left out.

    Args:
        file: A JSON-lines, CSV or TSV file.
        name: `json`, `jsonl`, `csv` or `tsv`.
    """
    from datasets import config

    kind = "json" if name.startswith("json") else "csv"
    copy = Path(config.HF_DATASETS_CACHE) / "lightning_embed" / f"{fingerprint([file])}.{name}"
    listed = copy.with_suffix(".bad.json")
    if not listed.is_file():
        copy.parent.mkdir(parents=True, exist_ok=True)
        bad = []
        part = copy.with_suffix(f".{os.getpid()}.part")
        with part.open("wb") as kept:
            for line, wrong in _guarded(_judged(file, kind), file):
                if wrong is None:
                    kept.write(line if line.endswith(b"\n") else line + b"\n")
                else:
                    bad.append(wrong)
        part.rename(copy)
        part.write_text(json.dumps([[row.where, row.column, row.reason] for row in bad]))
        part.rename(listed)
    return str(copy), [BadRow(*row) for row in json.loads(listed.read_text())]


def _guarded(rows: Iterator[tuple[bytes, BadRow | None]], file: str) -> Iterator[tuple[bytes, BadRow | None]]:
    """The rows up to where a compressed file breaks off, and that it does."""
    try:
        yield from rows
    except (OSError, EOFError) as error:
        yield b"", BadRow(file, None, f"the rest cannot be read ({error})")
