"""Which files a source's paths name, and of which format they are."""

import glob
import os
import re
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

from lightning_embed.datamodules.sources import beir
from lightning_embed.datamodules.sources.source import Source
from lightning_embed.errors import UserError
from lightning_embed.utils.notes import note

KINDS = {suffix: suffix for suffix in ("json", "csv", "tsv", "parquet", "arrow")} | {"jsonl": "json", "ndjson": "json"}
"""End of a file's name -> its format."""
CORPUS = "corpus"
"""The format of BEIR's corpus.jsonl: title and text of each document are one text."""
PACKED = ("gz", "zst", "zstd")
LEFTOVERS = (
    "tmp",
    "bak",
    "swp",
    "swo",
    "part",
    "partial",
    "crdownload",
    "orig",
    "old",
    "lock",
    "log",
    "crc",
    "md5",
    "sha1",
    "sha256",
)
"""Ends of names of what editors, downloads and tools leave beside data."""
VERSION = re.compile(r"\.v?\d\w*")
"""End of a hub's name such as owner/texts-v1.5."""


def kind_of(source: Source, file: str) -> str:
    """The format of a source's file.

    Args:
        source: May say it.
        file: Says it by its name otherwise.

    Raises:
        UserError: If the name says nothing.
    """
    if source.format is None and source.columns is None and beir.is_corpus(file):
        return CORPUS
    kind = source.format or named_kind(file)
    if kind is None:
        raise UserError(
            f"{file}: expected a file named *.jsonl, .json, .csv, .tsv, .parquet or .arrow (also .gz, .zst); rename it, or say the "
            "source's `format`"
        )
    return kind


def named_kind(file: str) -> str | None:
    """The format that a file's name says; None if it says none.

    Args:
        file: Its path.
    """
    return next((KINDS[end] for end in reversed(_ends(file)) if end in KINDS), None)


def _ends(file: str) -> list[str]:
    return [suffix[1:].lower() for suffix in Path(file).suffixes]


def is_hub_id(path: str) -> bool:
    """Whether a path that does not exist reads like owner/name.

    Args:
        path: As the source has it.
    """
    return (
        path.count("/") == 1
        and (not Path(path).suffix or VERSION.fullmatch(Path(path).suffix) is not None)
        and not Path(path).exists()
        and not path.startswith((".", "~", "/"))
        and not glob.has_magic(path)
    )


def expand(source: Source, paths: Iterable[str]) -> list[str]:
    """The files that paths and patterns name, each once; a pattern names files of data alone.

    Args:
        source: Whose paths they are.
        paths: Paths of files, which may have glob characters; a file of exactly that name comes first.

    Raises:
        UserError: If a path names no file, or a file is empty.
    """
    files: dict[str, str] = {}
    for path in paths:
        found = [path] if Path(path).is_file() or not glob.has_magic(path) else _matching(source, path)
        for file in found:
            if not Path(file).is_file():
                raise UserError(f"source '{source.title}': {_missing(file)}")
            if Path(file).stat().st_size == 0:
                raise UserError(f"source '{source.title}': {file} is empty; give a file with at least one row")
            files.setdefault(os.path.realpath(file), file)
    return list(files.values())


def _matching(source: Source, pattern: str) -> list[str]:
    """The files of data that a pattern names, in order; of those passed over a note is made."""
    found = [file for file in sorted(glob.glob(pattern, recursive=True)) if Path(file).is_file()]
    good = [file for file in found if _is_data(file, any_end=source.format is not None)]
    passed = [Path(file).name for file in found if file not in good]
    shown = ", ".join(passed[:5]) + (", …" if passed[5:] else "")
    if not good:
        among = f" of data among the {len(passed)} that match ({shown})" if passed else ""
        raise UserError(f"source '{source.title}': there is no file{among} {pattern} (looked from {Path.cwd()})")
    if passed:
        note(f"source '{source.title}': {pattern} also matches {shown}, which by their names are no data: not read")
    return good


def _is_data(file: str, any_end: bool) -> bool:
    """Whether a file's name is that of data, not of a backup or of a file half written."""
    name, ends = Path(file).name, _ends(file)
    if name.startswith((".", "#")) or name.endswith(("~", "#")):
        return False
    if any_end:
        return not ends or ends[-1] not in LEFTOVERS
    last = ends[-2:-1] if ends and ends[-1] in PACKED else ends[-1:]
    return bool(last) and last[0] in KINDS


def _missing(file: str) -> str:
    if Path(file).is_dir():
        return f"{file} is a folder; name its files, e.g. {pattern_in(Path(file))}"
    if Path(file).exists():
        return f"{file} is no regular file, and rows are read in any order; write them to a file first"
    if "," in file and all(Path(part.strip()).is_file() for part in file.split(",")):
        return f"there is no file {file}; give several files as a list: [{file}]"
    if Path(file.strip()).is_file():
        return f"there is no file {file!r}; leave the spaces around it out"
    folder = Path(file).parent
    names = [one.name for one in folder.iterdir()] if folder.is_dir() else []
    near = get_close_matches(Path(file).name, names, n=1)
    hint = (
        f"; did you mean {folder / near[0]}?" if near else "" if folder.is_dir() else f"; there is no folder {folder}"
    )
    if not hint and "/" not in file and not Path(file).suffix:
        hint = "; a data set of the Hugging Face hub is named owner/name"
    return f"there is no file {file} (looked from {Path.cwd()}){hint}"


def pattern_in(folder: Path) -> str:
    """A pattern for the files of data in a folder.

    Args:
        folder: The folder.
    """
    names = [one.name for one in sorted(folder.iterdir()) if one.is_file() and _is_data(str(one), any_end=False)]
    return str(folder / (f"*.{names[0].split('.', 1)[1]}" if names else "*.jsonl"))


def refuse_address(source: Source, path: str) -> None:
    """Raises `UserError` if a path is an address, from which nothing is read.

    Args:
        source: Whose path it is.
        path: As it was given.
    """
    scheme, _, rest = path.partition("://")
    if not rest or "/" in scheme or Path(path).exists():
        return
    then = "download the file and give its path"
    hub = re.match(r"(?:huggingface\.co/)?datasets/([^/]+/[^/@]+)", rest)
    if scheme == "file":
        then = f"give the path {rest}"
    elif hub and (scheme == "hf" or rest.startswith("huggingface.co/")):
        then = f"give the data set's name, {hub[1]}"
    raise UserError(f"source '{source.title}': {path} is an address, and files are read from this machine; {then}")
