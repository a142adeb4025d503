"""Files: opened with any compression, read line by line, and fingerprinted."""

import codecs
import gzip
import io
import json
import os
import zlib
from collections.abc import Iterator
from hashlib import blake2b
from typing import IO, Any

GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
"""How compressed files begin."""


def open_bytes(file: str) -> IO[bytes]:
    """Opens a file, decompressing gzip and Zstandard, whatever its name says.

    Args:
        file: Its path.
    """
    with open(file, "rb") as stream:
        head = stream.read(4)
    packed_by_name = file.endswith((".gz", ".zst", ".zstd")) and min(head, default=0) < 9  # no text begins like this
    if head.startswith(GZIP) or (packed_by_name and file.endswith(".gz")):
        return gzip.open(file)  # type: ignore[return-value]
    if head.startswith(ZSTD) or packed_by_name:
        import zstandard

        return io.BufferedReader(zstandard.open(file))
    return open(file, "rb")


def open_text(file: str) -> IO[str]:
    """Opens a file as UTF-8 text, with or without a byte order mark, decompressed; undecodable bytes become lone surrogates.

    Args:
        file: Its path.
    """
    return io.TextIOWrapper(open_bytes(file), encoding="utf-8-sig", errors="surrogateescape", newline="")


def broken_file() -> tuple[type[Exception], ...]:
    """What reading a file raises that is cut short or damaged."""
    import zstandard

    return OSError, EOFError, zlib.error, zstandard.ZstdError


def is_array(file: str) -> bool:
    """Whether a JSON file is one array instead of an object a line.

    Args:
        file: Its path.
    """
    with open_bytes(file) as stream:
        return stream.read(64).removeprefix(codecs.BOM_UTF8).lstrip()[:1] == b"["


def json_lines(file: str) -> Iterator[tuple[int, Any]]:
    """Line number and value of each line that is not blank; None as the value where it is no JSON.

    Args:
        file: A JSON-lines file.
    """
    with open_bytes(file) as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                try:
                    yield number, json.loads(line)
                except (ValueError, RecursionError):
                    yield number, None


def fingerprint(*parts: Any) -> str:
    """A hash of some settings and, for existing files among them, of their size and time of change.

    Args:
        parts: Bytes, anything else whose repr says what it is, or lists of paths.
    """
    seen = blake2b(digest_size=16)
    for part in parts:
        if isinstance(part, bytes):
            seen.update(blake2b(part).digest())
            continue
        for item in part if isinstance(part, list) else [part]:
            found = os.stat(item) if isinstance(item, str) and os.path.exists(item) else None
            seen.update(repr((item, found and (found.st_size, found.st_mtime_ns))).encode())
    return seen.hexdigest()
