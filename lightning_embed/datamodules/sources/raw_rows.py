"""Rows of JSON and CSV files one by one: the place of each, and its content or what is wrong with it."""

import csv
import json
import re
from collections import Counter, deque
from collections.abc import Iterator
from typing import Any

from lightning_embed.datamodules.sources.files import broken_file, is_array, open_bytes, open_text
from lightning_embed.datamodules.sources.in_memory import GIVEN, is_kept
from lightning_embed.errors import UserError

NULL, TEXT, TEXTS, NUMBER, NUMBERS = "nothing", "a text", "a list of texts", "a number", "a list of numbers"
BOOL, EMPTY = "true or false", "an empty list"
_NULL_ROW = re.compile(rb"}\s*null")
LONGEST_CELL = 1 << 30
"""Characters; Python's own limit of 131,072 is shorter than some texts."""
ENCODING = " (if all of the file is in another encoding, such as Latin-1, convert it with iconv)"

Parsed = dict[str, Any] | str
"""A row, or what is wrong with it."""


def kind_of(value: Any) -> str:
    """What a value is, as far as it matters here: one of the names above, or another.

    Args:
        value: A JSON value.
    """
    if value is None:
        return NULL
    if isinstance(value, str) or (isinstance(value, dict) and isinstance(value.get("text"), str)):
        return TEXT
    if isinstance(value, bool):
        return BOOL
    if isinstance(value, int | float):
        return NUMBER if isinstance(value, float) or -(1 << 63) <= value < 1 << 63 else "a number beyond 64 bits"
    if isinstance(value, list):
        inside = {kind_of(item) for item in value} - {NULL}
        lists = {(): EMPTY, (TEXT,): TEXTS, (NUMBER,): NUMBERS}
        return lists.get(tuple(inside), "a list of other things")
    return "an object"


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


def separator(name: str, delimiter: str | None) -> str:
    """What stands between the cells of a file.

    Args:
        name: `csv` or `tsv`.
        delimiter: What its source says.
    """
    return delimiter or ("\t" if name == "tsv" else ",")


def parsed(files: list[str], name: str, delimiter: str | None = None) -> Iterator[tuple[str, Parsed]]:
    """Place and content of each row, or what is wrong with it.

    Args:
        files: JSON-lines, JSON, CSV or TSV files.
        name: `json`, `jsonl`, `csv` or `tsv`.
        delimiter: What stands between cells, if the source says it.

    Raises:
        UserError: If a file breaks off, which no share of bad rows measures.
    """
    for file in files:
        try:
            if name in ("csv", "tsv"):
                yield from _csv_rows(file, separator(name, delimiter))
            else:
                yield from _array(file) if is_array(file) else _json_lines(file)
        except broken_file() as error:
            reason = str(error) or type(error).__name__
            raise UserError(
                f"{file}: the rest of it cannot be read ({reason}): an unknown number of rows is lost; download it again"
            ) from None


def csv_head(files: list[str], name: str, delimiter: str | None) -> list[str]:
    """The column names of CSV files.

    Args:
        files: The files.
        name: `csv` or `tsv`.
        delimiter: What stands between cells, if the source says it.

    Raises:
        ValueError: If a file's first row does not fit them; a fast reader would guess what is meant.
    """
    heads = []
    for file in files:
        place, row = next(_csv_rows(file, separator(name, delimiter)), (file, "no rows"))
        if isinstance(row, str):
            raise ValueError(f"{place}: {row}")
        heads.append(list(row))
    return heads[0]


def _json_lines(file: str) -> Iterator[tuple[str, Parsed]]:
    place = f"{GIVEN}, row" if is_kept(file) else f"{file}, line"
    with open_bytes(file) as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield f"{place} {number}", _parse(line)


def _array(file: str) -> Iterator[tuple[str, Parsed]]:
    """The objects of a file that is one JSON array."""
    with open_bytes(file) as stream:
        try:
            rows = json.loads(stream.read())
        except (ValueError, RecursionError) as error:
            stream.seek(0)
            if _is_json(stream.readline()):  # an array a line
                yield from _json_lines(file)
            else:
                yield file, f"expected a JSON array ({error})"
            return
    for number, row in enumerate(rows, start=1):
        yield f"{file}, row {number}", _checked(row)


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _parse(line: bytes) -> Parsed:
    """A line's JSON object, or what is wrong with it."""
    try:
        text = line.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return f"expected UTF-8, got byte 0x{error.object[error.start]:02x} at position {error.start}{ENCODING}"
    try:
        return _checked(json.loads(text))
    except (ValueError, RecursionError) as error:
        return f"expected a JSON object, got {text.strip()[:60]!r} ({str(error)[:80]})"


def _checked(row: Any) -> Parsed:
    if not isinstance(row, dict):
        return f"expected a JSON object, got {kind_of(row)}"
    return "a text holds half a surrogate pair, which is not a character" if _lone_surrogate(row) else row


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
            limit = csv.field_size_limit(LONGEST_CELL)  # the whole process's, so only while a row is read
            try:
                cells = next(csv.reader(lines(), delimiter=separator, strict=True), [])
            except csv.Error as error:
                cells, wrong = [], str(error)
            finally:
                csv.field_size_limit(limit)
            if not taken:
                return
            if head is None:
                head = cells
                twice = [cell for cell, times in Counter(head).items() if times > 1]
                if twice:
                    raise UserError(f"{file}, line {number}: the column '{twice[0]}' appears twice; rename one")
            elif cells or wrong:
                if wrong is None and len(cells) != len(head):
                    wrong = f"expected {len(head)} cells, got {len(cells)}"
                elif wrong is None and _lone_surrogate(cells):
                    wrong = f"expected UTF-8, got other bytes{ENCODING}"
                if wrong:
                    ahead.extendleft(reversed(taken[1:]))
                    del taken[1:]
                yield f"{file}, line {number}", wrong or {k: cell or None for k, cell in zip(head, cells, strict=True)}
            number += len(taken)
