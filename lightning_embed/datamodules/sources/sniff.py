"""Says what a file is that cannot be read as what its name, or its source's `format`, says it is."""

import codecs
import csv
import io
import json
from itertools import islice

from lightning_embed.datamodules.sources.files import open_bytes
from lightning_embed.errors import UserError

HEAD = 1 << 18
"""Bytes that are looked at."""
UNPACK = "unpack it and name the files in it"
BEGINNINGS = {
    b"BZh": ("packed with bzip2", "unpack it, or pack it with gzip"),
    b"\xfd7zXZ\x00": ("packed with xz", "unpack it, or pack it with gzip"),
    b"7z\xbc\xaf\x27\x1c": ("a 7z archive", UNPACK),
    b"Rar!": ("a RAR archive", UNPACK),
    b"\x89HDF": ("an HDF5 file", "write its rows as Parquet or JSON lines"),
    b"\xd0\xcf\x11\xe0": ("an old Excel workbook, or another old Office file", "save the sheet as CSV in UTF-8"),
    b"SQLite format 3": ("an SQLite database", "write its rows as Parquet or JSON lines"),
    b"Obj\x01": ("an Avro file", "write its rows as Parquet or JSON lines"),
    b"ORC": ("an ORC file", "write its rows as Parquet or JSON lines"),
    b"\x80\x04\x95": ("a Python pickle", "write its rows as Parquet or JSON lines"),
    b"\x80\x05\x95": ("a Python pickle", "write its rows as Parquet or JSON lines"),
    b"%PDF": ("a PDF", "write its texts as JSON lines"),
    b"version https://git-lfs": ("a Git LFS pointer in place of the file", "fetch the file with git lfs pull"),
    b"<!doctype html": ("a web page", "download the file itself"),
    b"<html": ("a web page", "download the file itself"),
}
"""How files begin that are no rows, what they are, and what to do; in small letters where they are text."""
OWN = {"parquet": b"PAR1", "arrow": b"ARROW1"}
"""How files of a format begin."""
SEPARATORS = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a bar"}
SAMPLED_ROWS = 20
OTHER_LINES = 3
"""Lines that are no UTF-8, from which on they count as another encoding, if no line is UTF-8 beyond ASCII."""


def refuse_other_content(file: str, kind: str | None) -> None:
    """Raises `UserError` that says what a file is and what to do, if it is plainly something else than rows of a format.

    Args:
        file: A file that exists.
        kind: `json`, `csv`, `tsv`, `parquet` or `arrow`; None: not known.
    """
    try:
        with open_bytes(file) as stream:
            head = stream.read(HEAD)
    except Exception:  # cut short or damaged: its reader says so
        return
    if not head:
        raise UserError(f"{file} is empty; give a file with at least one row")
    found = _what(head, kind)
    if found is not None:
        what, then = found
        raise UserError(f"{file} is {what}; {then}")
    if kind in ("json", "csv", "tsv"):
        _refuse_encoding(file, head)
    if kind == "json":
        _refuse_lone_object(file, head)


def _what(head: bytes, kind: str | None) -> tuple[str, str] | None:
    """What content of such a beginning is, if it is no text and not of the format, and what to do."""
    if head[:4] == b"PK\x03\x04":
        if b"xl/" in head or b"[Content_Types].xml" in head:
            return "an Excel workbook", "save the sheet as CSV in UTF-8"
        return "a ZIP archive", UNPACK
    if head[257:262] == b"ustar":
        return "a tar archive", UNPACK
    start = head[:32].lstrip().lower()
    for beginning, found in BEGINNINGS.items():
        if head.startswith(beginning) or start.startswith(beginning):
            return found
    for other, beginning in OWN.items():
        if head.startswith(beginning) and kind != other:
            return (
                f"a{'n' if other == 'arrow' else ''} {other.capitalize()} file",
                f"rename it to *.{other}, or say format: {other}",
            )
    return _what_text(head, kind)


def _what_text(head: bytes, kind: str | None) -> tuple[str, str] | None:
    """What a text of such a beginning is, if it is plainly not of the format, and what to do."""
    lines = [line.strip() for line in head.removeprefix(codecs.BOM_UTF8).split(b"\n")[:SAMPLED_ROWS] if line.strip()]
    if not lines or kind is None or head.count(0):
        return None
    if kind != "json" and (_is_object(lines[0]) or (len(lines) == 1 and len(head) == HEAD and lines[0][:1] == b"{")):
        return "JSON lines", "rename it to *.jsonl, or say format: json"
    if kind in OWN and decodes(lines[0]):
        return f"a text and no {kind.capitalize()} file", "rename it to what it is, such as *.csv, or say its format"
    if (
        kind == "json"
        and not any(line[:1] in (b"{", b"[", b"}", b"]", b'"') for line in lines)
        and _columns("\n".join(line.decode("utf-8", errors="replace") for line in lines), ",") > 1
    ):
        return "CSV and not JSON", "rename it to *.csv, or say format: csv"
    return None


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _refuse_encoding(file: str, head: bytes) -> None:
    """Raises `UserError` if a text is in UTF-16, UTF-32, or an encoding of one byte a character."""
    wide = next((name for mark, name in MARKS if head.startswith(mark)), None)
    if wide is None and head[:4096].count(0) > len(head[:4096]) // 5:
        wide = "UTF-16LE" if head[1:2] == b"\0" else "UTF-16BE"
    if wide is not None:
        raise UserError(f"{file} is in {wide[:6]}, and UTF-8 is expected; {_convert(file, wide)}")
    lines = head.split(b"\n")
    lines = lines if len(head) < HEAD else lines[:-1]
    special = [line for line in lines if not line.isascii()]
    if len(special) >= OTHER_LINES and not any(map(decodes, special)):
        number = lines.index(special[0]) + 1
        byte = next(b for b in special[0] if b > 0x7F)
        raise UserError(
            f"{file} is not in UTF-8 (line {number} has byte 0x{byte:02x}), and UTF-8 is expected; if it is in Latin-1 or Windows-1252: "
            f"{_convert(file, 'WINDOWS-1252')}"
        )


MARKS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)


def _convert(file: str, encoding: str) -> str:
    return f"iconv -f {encoding} -t UTF-8 '{file}' writes it in UTF-8"


def decodes(text: bytes | None) -> bool:
    """Whether bytes are UTF-8.

    Args:
        text: The bytes; None is.
    """
    try:
        return text is None or bool(text.decode("utf-8")) or True
    except UnicodeDecodeError:
        return False


def _refuse_lone_object(file: str, head: bytes) -> None:
    """Raises `UserError` if a JSON file is one object over several lines instead of rows."""
    start = head.removeprefix(codecs.BOM_UTF8).lstrip()
    first = start.partition(b"\n")[0]
    try:
        json.loads(first)
    except (ValueError, RecursionError):
        pass
    else:
        return
    if not start.startswith(b"{") or len(head) == HEAD:
        return
    try:
        whole = json.loads(start)
    except (ValueError, RecursionError):
        return
    lists = [key for key, value in whole.items() if isinstance(value, list) and value and isinstance(value[0], dict)]
    then = f", e.g. jq -c '.{lists[0]}[]' '{file}' > rows.jsonl" if lists else ""
    raise UserError(
        f"{file} is one JSON object (with the keys {', '.join(list(whole)[:5])}); an array of objects, or one object a line, is "
        f"expected{then}"
    )


def refuse_other_separator(file: str, separator: str) -> None:
    """Raises `UserError` if a CSV file's cells are plainly separated by another character than is expected.

    Args:
        file: A CSV file.
        separator: What is expected between its cells.
    """
    try:
        with open_bytes(file) as stream:
            text = stream.read(HEAD).decode("utf-8-sig", errors="replace")
    except Exception:  # cut short or damaged: its reader says so
        return
    if _columns(text, separator) > 1:
        return
    for other, name in SEPARATORS.items():
        if other != separator and _columns(text, other) > 1:
            expected = SEPARATORS.get(separator, repr(separator))
            raise UserError(
                f"{file}: its columns are separated by {name}, not by {expected}; say delimiter: {json.dumps(other)} in the source"
            )


def _columns(text: str, separator: str) -> int:
    """How many cells the first rows have each; 0 if they differ."""
    try:
        rows = [row for row in islice(csv.reader(io.StringIO(text), delimiter=separator), SAMPLED_ROWS) if row]
    except csv.Error:
        return 0
    counts = {len(row) for row in (rows[:-1] if len(rows) == SAMPLED_ROWS and len(rows) > 2 else rows)}
    return counts.pop() if len(counts) == 1 else 0
