"""Reads a source's files into a memory-mapped Arrow table."""

import glob
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lightning_embed import __version__
from lightning_embed.datamodules import beir
from lightning_embed.datamodules.bad_rows import BadRow, BadRows
from lightning_embed.datamodules.careful import clean_copy, explain_unreadable
from lightning_embed.datamodules.columns import is_role
from lightning_embed.datamodules.files import fingerprint
from lightning_embed.datamodules.sources import Source
from lightning_embed.errors import UserError
from lightning_embed.messages import user_error

READERS = {"json": "json", "jsonl": "json", "csv": "csv", "tsv": "csv", "parquet": "parquet", "arrow": "arrow"}
LARGE = 50 << 20
"""Bytes of files from which on their conversion shows its progress."""


def read(source: Source, bad_rows: BadRows) -> tuple[Any, list[str], list[BadRow]]:
    """A `datasets.Dataset` of a source's rows, the files that it was read from, and rows that had to be left out to read it at all.

    Args:
        source: What to read.
        bad_rows: What to do with unreadable rows.

    Raises:
        UserError: If a file is missing, empty or unreadable.
    """
    import datasets

    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)  # what it would say is said here, with the line
    paths = [str(Path(path).expanduser()) for path in source.paths]
    if not paths:
        raise UserError("a source has no path: give it at least one file")
    if len(paths) == 1 and Path(paths[0]).is_dir():
        return _folder(source, Path(paths[0]))
    if source.format is None and len(paths) == 1 and _is_hub_id(paths[0]):
        return _from_hub(source, paths[0]), paths, []
    files = _expand(source, paths)
    names = {source.format or _format(file) for file in files}
    if len(names) > 1:
        said = ", ".join(sorted(names))
        raise UserError(f"source '{source.title}': its files are of several formats ({said}); make one source of each")
    name = names.pop()
    try:
        table = _load(name, files)
    except Exception as error:  # datasets wraps each reader's own exceptions
        if not bad_rows.skip or READERS[name] not in ("json", "csv"):
            raise explain_unreadable(error, source.title, files, READERS[name]) from None
        table = None
    if table is not None and not _mixed(source, table):
        return table, files, []
    if not bad_rows.skip:
        raise explain_unreadable(TypeError("values of several types"), source.title, files, READERS[name])
    return _load_clean(source, name, files)


def _load(name: str, files: list[str]) -> Any:
    import datasets

    if sys.stderr.isatty() and sum(os.path.getsize(file) for file in files) > LARGE:
        datasets.enable_progress_bars()
    options = {"sep": "\t"} if name == "tsv" else {}
    if READERS[name] == "csv":
        options |= {"keep_default_na": False, "na_values": [""]}  # type: ignore[dict-item]  # the text "null" is a text
    try:
        return datasets.load_dataset(READERS[name], data_files=files, split="train", **options)
    finally:
        datasets.disable_progress_bars()


def _load_clean(source: Source, name: str, files: list[str]) -> tuple[Any, list[str], list[BadRow]]:
    """The table of the files' readable rows, and those that are not."""
    copies, bad = [], []
    for file in files:
        copy, left_out = clean_copy(file, name)
        copies += [copy] if os.path.getsize(copy) else []
        bad += left_out
    if not copies:
        raise UserError(f"source '{source.title}': not one row of {', '.join(files)} can be read; the first: {bad[0]}")
    return _load("json" if READERS[name] == "json" else name, copies), copies, bad


def _mixed(source: Source, table: Any) -> bool:
    """Whether a column that may play a role holds values of several types, which datasets keeps as JSON."""
    asked = set((source.columns or {}).values())
    kept = [column for column, feature in table.features.items() if type(feature).__name__ == "Json"]
    return any(column in asked if source.columns else is_role(column) for column in kept)


def _folder(source: Source, folder: Path) -> tuple[Any, list[str], list[BadRow]]:
    import datasets

    if source.format == "beir" or beir.is_beir(folder):
        files = beir.files(folder, source.split, source.title)
        stamp = fingerprint("beir rows", __version__, [str(file) for file in files])
        given = {"folder": folder, "split": source.split, "title": source.title}
        try:
            table = datasets.Dataset.from_generator(
                beir.rows, gen_kwargs=given, features=beir.features(), fingerprint=stamp
            )
        except Exception as error:  # datasets wraps what a generator raises
            raise user_error(error) or explain_unreadable(error, source.title, [str(folder)], "beir") from None
        return table, [str(folder)], []
    if not (folder / "dataset_info.json").is_file():
        raise UserError(
            f"source '{source.title}': {folder} is neither a folder that datasets.save_to_disk wrote nor in BEIR's layout "
            "(corpus.jsonl, queries.jsonl, qrels/); name its files, e.g. with a glob"
        )
    try:
        return datasets.load_from_disk(str(folder)), [str(folder)], []
    except Exception as error:  # a shard that is cut short, or a file that is missing
        raise explain_unreadable(error, source.title, [str(folder)], "arrow") from None


def arrow_batches(table: Any, columns: list[str]) -> Iterator[Any]:
    """Record batches of some columns in the order of the rows, read and let go one after the other.

    The files are read rather than mapped, so that a pass over all rows does not keep them in memory.

    Args:
        table: A `datasets.Dataset`.
        columns: Which columns.
    """
    import pyarrow as pa

    files = [entry["filename"] for entry in table.cache_files]
    if files and table._indices is None:
        for file in files:
            with pa.OSFile(file) as stream:
                for batch in pa.ipc.open_stream(stream):
                    yield batch.select(columns)
        return
    chosen = table.select_columns(columns).with_format("arrow")
    for part in chosen.iter(batch_size=10_000):
        yield from part.combine_chunks().to_batches()


def _from_hub(source: Source, name: str) -> Any:
    import datasets

    try:
        return datasets.load_dataset(name, source.subset, split=source.split)
    except Exception as error:  # no network, no such data set or split: the client raises many kinds
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
        raise UserError(
            f"source '{source.title}': '{name}' is no file here and could not be fetched from the Hugging Face hub ({reason})"
        ) from None


def _is_hub_id(path: str) -> bool:
    """Whether a path that is no folder reads like owner/name."""
    return (
        path.count("/") == 1
        and not Path(path).suffix
        and not Path(path).exists()
        and not path.startswith((".", "~", "/"))
        and not glob.has_magic(path)
    )


def _expand(source: Source, paths: list[str]) -> list[str]:
    files: list[str] = []
    for path in paths:
        found = sorted(glob.glob(path, recursive=True)) if glob.has_magic(path) else [path]
        found = [file for file in found if Path(file).is_file()]
        if not found:
            raise UserError(f"source '{source.title}': there is no file {path} (looked from {Path.cwd()})")
        files += found
    for file in files:
        if Path(file).stat().st_size == 0:
            raise UserError(f"source '{source.title}': {file} is empty; give a file with at least one row")
    return files


def _format(file: str) -> str:
    for suffix in reversed(Path(file).suffixes):
        if suffix[1:] in READERS:
            return suffix[1:]
    raise UserError(
        f"{file}: expected a file named *.jsonl, .json, .csv, .tsv, .parquet or .arrow (also .gz, .zst); rename it, or say the "
        "source's `format`"
    )
