"""The texts that an export is compared on."""

import json
import shutil
import tempfile
from pathlib import Path

from lightning_embed.errors import UserError

TEXTS = 200
"""The most that are compared."""


def standard_texts() -> list[str]:
    """Docstrings of Python's standard library: real texts that every machine has, short ones and long."""
    import argparse
    import collections
    import datetime
    import inspect
    import logging
    import statistics
    import subprocess
    import textwrap
    import urllib.parse

    modules = (
        argparse,
        collections,
        datetime,
        json,
        logging,
        shutil,
        statistics,
        subprocess,
        tempfile,
        textwrap,
        urllib.parse,
    )
    found: dict[str, None] = {}
    for module in modules:
        for _, value in sorted(vars(module).items()):
            text = (inspect.getdoc(value) or "").strip() if inspect.isclass(value) or inspect.isroutine(value) else ""
            if len(text) > 20:
                found[text] = None
    return list(found)[:TEXTS]


def read_texts(path: Path, most: int = TEXTS) -> list[str]:
    """The first texts of a file.

    Args:
        path: One text a line, or JSON lines, of which every string counts.
        most: How many at most.

    Raises:
        UserError: It cannot be read or has none.
    """
    found: list[str] = []
    number = 0
    try:
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                number += 1
                if len(found) >= most:
                    break
                if path.suffix == ".jsonl":
                    found += [value for value in json.loads(line).values() if isinstance(value, str) and value.strip()]
                elif line.strip():
                    found.append(line.strip())
    except OSError as error:
        raise UserError(f"{path}: the texts cannot be read ({error.strerror})") from None
    except (ValueError, AttributeError) as error:
        raise UserError(f"{path}, line {number}: expected a text or a JSON object ({error})") from None
    if not found:
        raise UserError(f"{path}: no texts found in it")
    return found[:most]
