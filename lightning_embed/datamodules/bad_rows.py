"""Finds the file and line of a row that cannot be used; only looked for when something is wrong."""

import gzip
import json
from collections.abc import Iterator
from typing import IO, Any

from lightning_embed.errors import UserError


def _open(file: str) -> IO[bytes]:
    if file.endswith(".gz"):
        return gzip.open(file)  # type: ignore[return-value]
    if file.endswith((".zst", ".zstd")):
        import zstandard

        return zstandard.open(file)
    return open(file, "rb")


def explain_unreadable(error: Exception, title: str, files: list[str], kind: str) -> UserError:
    """A line that names the file, and for JSON the line, that could not be read.

    Args:
        error: What the reader raised.
        title: The source's name.
        files: Its files.
        kind: Their format.
    """
    if kind == "json":
        for file in files:
            problem = _first_bad_json(file)
            if problem:
                return UserError(f"source '{title}': {problem}")
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    reason = " ".join(str(cause).split())[:200] or type(cause).__name__
    return UserError(f"source '{title}': {', '.join(files)} could not be read as {kind}: {reason}")


def _first_bad_json(file: str) -> str | None:
    types: dict[str, str] = {}
    try:
        with _open(file) as lines:
            for number, line in enumerate(lines, start=1):
                if not line.strip():
                    continue
                try:
                    row = json.loads(line)
                except ValueError as error:
                    shown = line.decode("utf-8", "replace").strip()[:60]
                    return f"{file}, line {number}: expected a JSON object, got {shown!r} ({error}); mend or delete the line"
                if not isinstance(row, dict):
                    return f"{file}, line {number}: expected a JSON object, got a {type(row).__name__}; mend or delete the line"
                for key, value in row.items():
                    if value is None:
                        continue
                    known = types.setdefault(key, type(value).__name__)
                    if known != type(value).__name__ and {known, type(value).__name__} != {"int", "float"}:
                        return f"{file}, line {number}, key '{key}': expected a {known}, got a {type(value).__name__}"
    except (OSError, EOFError) as error:
        return f"{file}: {error}"
    return None


def check_texts(table: Any, roles: dict[str, list[str]], title: str, files: list[str]) -> None:
    """Raises `UserError` at the first anchor or positive that is missing or blank, or that is no text.

    Args:
        table: A `datasets.Dataset`.
        roles: Text role -> columns.
        title: The source's name.
        files: Its files, to name the line.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    for role, columns in roles.items():
        for column in columns:
            kind = table.data.schema.field(column).type
            listed = pa.types.is_list(kind) or pa.types.is_large_list(kind)
            value_kind = kind.value_type if listed else kind
            if not (pa.types.is_string(value_kind) or pa.types.is_large_string(value_kind)):
                raise UserError(f"source '{title}': column '{column}' ({role}) must hold text, it holds {kind}")
            if role == "negative":
                continue
            start = 0
            for chunk in _chunks(table, column):
                values = (
                    pc.list_element(pc.if_else(pc.greater(pc.list_value_length(chunk), 0), chunk, None), 0)
                    if listed
                    else chunk
                )
                good = pc.fill_null(pc.match_substring_regex(values, r"\S"), False)
                if not pc.all(good).as_py():
                    row = start + pc.index(good, False).as_py()
                    raise UserError(
                        f"source '{title}': {where(row, files)}, column '{column}': expected a text, got an empty one"
                    )
                start += len(chunk)


def _chunks(table: Any, column: str) -> Iterator[Any]:
    """The column's Arrow chunks in the order of the rows."""
    if table._indices is not None:  # rows were selected or shuffled: the Arrow table's order is not theirs
        table = table.flatten_indices()
    yield from table.data.column(column).chunks


def where(row: int, files: list[str]) -> str:
    """ "file, line n" of a JSON-lines row, else "row n of file(s)".

    Args:
        row: Row number from 0.
        files: The source's files.
    """
    count = 0
    for file in files:
        if ".json" not in file:
            break
        with _open(file) as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    if count == row:
                        return f"{file}, line {number}"
                    count += 1
    return f"row {row + 1} of {', '.join(files)}"
