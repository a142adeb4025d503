"""Reads a source's files into a memory-mapped Arrow table."""

import glob
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lightning_embed.batch import ROLES
from lightning_embed.compat.datasets import holds_several_types, offline_if_unreachable, report_no_loads, saved_files
from lightning_embed.datamodules.sources import arrow_files, beir, in_memory, raw_rows, row_by_row
from lightning_embed.datamodules.sources.bad_rows import BadRows
from lightning_embed.datamodules.sources.checks import is_text
from lightning_embed.datamodules.sources.columns import may_play, role_of
from lightning_embed.datamodules.sources.files import fingerprint
from lightning_embed.datamodules.sources.paths import (
    CORPUS,
    expand,
    is_hub_id,
    kind_of,
    named_kind,
    pattern_in,
    refuse_address,
)
from lightning_embed.datamodules.sources.sniff import refuse_other_content, refuse_other_separator
from lightning_embed.datamodules.sources.source import Source
from lightning_embed.datamodules.sources.table import Table
from lightning_embed.errors import UserError, first_line, in_one_line, user_error
from lightning_embed.utils.notes import note
from lightning_embed.utils.quiet import quiet
from lightning_embed.utils.version import __version__

Rows = Callable[..., Iterator[dict[str, Any]]]
"""Reads rows in BEIR's form."""
LARGE = 50 << 20
"""Bytes of files from which on their conversion shows its progress."""


def read(source: Source, bad_rows: BadRows, held_out: bool = False) -> tuple[Table, list[str]]:
    """A source's rows, and the files that it was read from.

    Args:
        source: What to read.
        bad_rows: What to do with unreadable rows.
        held_out: Whether the rows of a BEIR folder are its judgements, rather than its queries.

    Raises:
        UserError: If a file is missing, empty or unreadable, or if a row is, unless such rows are skipped.
    """
    with quiet("datasets"):  # its messages name neither file nor line; those here do
        table, files = _read(source, bad_rows, held_out)
    return table, in_memory.shown(files)


def _read(source: Source, bad_rows: BadRows, held_out: bool) -> tuple[Table, list[str]]:
    for path in source.paths:
        refuse_address(source, path)
    paths = [str(Path(path).expanduser()) for path in source.paths]
    if len(paths) == 1 and Path(paths[0]).is_dir():
        table, files = _folder(source, Path(paths[0]), held_out)
        return arrow_files.plain(source, table), files
    if source.format is None and len(paths) == 1 and is_hub_id(paths[0]):
        return arrow_files.plain(source, Table.of(_from_hub(source, paths[0]))), paths
    if source.format == "beir":
        raise UserError(f"source '{source.title}': format beir needs one folder, got {', '.join(paths)}")
    files = expand(source, paths)
    if source.split != "train":
        note(
            f"source '{source.title}': split '{source.split}' is not used: it chooses among the splits of a folder or a hub's data set"
        )
    for file in files:
        refuse_other_content(file, "json" if source.format == CORPUS else source.format or named_kind(file))
    names = {kind_of(source, file) for file in files}
    if len(names) > 1:
        formats = ", ".join(sorted(names))
        raise UserError(
            f"source '{source.title}': its files are of several formats ({formats}); make one source of each"
        )
    name = names.pop()
    for file in files if name in ("csv", "tsv") else ():
        refuse_other_separator(file, raw_rows.separator(name, source.delimiter))
    if name == CORPUS:
        made = {"files": files, "title": source.title}
        return arrow_files.plain(
            source, _generated(source, files, beir.corpus_texts, beir.corpus_features(), made)
        ), files
    if name == "arrow" and all(map(in_memory.is_kept, files)):
        return arrow_files.plain(source, Table(files)), files
    if name in arrow_files.BEGINNINGS:
        return arrow_files.read(source, files, name), files
    if not row_by_row.has_read(source, files, name):
        try:
            table, features = _load(source, name, files)
        except Exception:  # datasets wraps each reader's own exceptions; the slow reader names the row
            pass
        else:
            if not _doubtful(source, table, features):
                return table, files
    return row_by_row.read(source, files, name, bad_rows), files


def _load(source: Source, name: str, files: list[str]) -> tuple[Table, Any]:
    """The rows as `datasets` reads them into its cache, and its features."""
    import datasets

    reader = name
    options: dict[str, Any] = {}
    if name in ("csv", "tsv"):
        reader, head = "csv", raw_rows.csv_head(files, name, source.delimiter)
        # texts stay what they are, "null" and "007" too; no column is taken for an index
        options = {"features": datasets.Features({column: datasets.Value("string") for column in head})}
        options |= {"sep": raw_rows.separator(name, source.delimiter), "keep_default_na": False, "na_values": [""]}
    if sys.stderr.isatty() and sum(os.path.getsize(file) for file in files) > LARGE:
        datasets.enable_progress_bars()
    report_no_loads()
    try:
        plain = [glob.escape(file) for file in files]
        builder = datasets.load_dataset_builder(reader, data_files={"train": plain}, **options)
        if name == "json" and not Path(builder.cache_dir).is_dir() and not all(map(raw_rows.is_plain, files)):
            raise ValueError("not one object a line")
        builder.download_and_prepare()
        return Table(sorted(str(file) for file in Path(builder.cache_dir).glob("*.arrow"))), builder.info.features
    finally:
        datasets.disable_progress_bars()


def _unreadable(error: Exception, title: str, folder: Path, kind: str) -> UserError:
    """A line that says why a folder could not be read."""
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    return UserError(f"source '{title}': {folder} could not be read as {kind}: {in_one_line(cause)}")


def _doubtful(source: Source, table: Table, features: Any) -> bool:
    """Whether a column that may play a role holds values of several types (datasets keeps them as JSON), or text was read as numbers."""
    for column, feature in features.items():
        role, kind = role_of(source, column, table.columns), table.schema.field(column).type
        if may_play(source, column, table.columns) and holds_several_types(feature):
            return True
        if role in ROLES and not is_text(kind):
            return True
    return False


def is_beir(source: Source) -> bool:
    """Whether a source is a folder in BEIR's layout.

    Args:
        source: The source.
    """
    folders = [path for path in (Path(path).expanduser() for path in source.paths) if path.is_dir()]
    return len(source.paths) == len(folders) == 1 and (source.format == "beir" or beir.is_beir(folders[0]))


def read_others(source: Source) -> Table:
    """The documents of a BEIR folder that are relevant to no query, at most `source.corpus`, after their number: see `beir.others`.

    Args:
        source: A folder in BEIR's layout.
    """
    with quiet("datasets"):
        return _of_folder(source, beir.others, beir.other_features(), {"most": source.corpus})


def _of_folder(source: Source, rows: Rows, features: Any, more: dict[str, Any]) -> Table:
    """Rows of a BEIR folder."""
    folder = Path(source.paths[0]).expanduser()
    files = [str(file) for file in beir.files(folder, source.split, source.title)]
    given = {"folder": folder, "split": source.split, "title": source.title} | more
    return _generated(source, files, rows, features, given)


def _generated(source: Source, files: list[str], rows: Rows, features: Any, given: dict[str, Any]) -> Table:
    """Rows of files in BEIR's form, written to the cache of `datasets` once."""
    import datasets

    key = fingerprint("beir", rows.__name__, sorted(given.items()), __version__, files)
    try:
        return Table.of(datasets.Dataset.from_generator(rows, gen_kwargs=given, features=features, fingerprint=key))
    except Exception as error:  # datasets wraps what a generator raises
        raise user_error(error) or _unreadable(error, source.title, Path(source.paths[0]), "beir") from None


def _folder(source: Source, folder: Path, held_out: bool) -> tuple[Table, list[str]]:
    if is_beir(source):
        made = _of_folder(source, beir.rows, beir.features(held_out), {"held_out": held_out})
        return made, [str(folder)]
    if (folder / "dataset_dict.json").is_file():
        splits = json.loads((folder / "dataset_dict.json").read_text())["splits"]
        if source.split not in splits:
            raise UserError(
                f"source '{source.title}': {folder} has no split '{source.split}' (found: {', '.join(splits)})"
            )
        folder = folder / source.split
    if not (folder / "dataset_info.json").is_file():
        raise UserError(
            f"source '{source.title}': {folder} is neither a folder that datasets.save_to_disk wrote nor in BEIR's layout "
            f"(corpus.jsonl, queries.jsonl, qrels/); name its files, e.g. {pattern_in(folder)}"
        )
    try:
        return Table([str(file) for file in saved_files(folder)]), [str(folder)]
    except Exception as error:  # a shard that is cut short, or a file that is missing
        raise _unreadable(error, source.title, folder, "arrow") from None


def _from_hub(source: Source, name: str) -> Any:
    import datasets

    with offline_if_unreachable() as unreachable:
        try:
            return datasets.load_dataset(name, source.subset, split=source.split)
        except Exception as error:  # no network, no such data set or split: the client raises many kinds
            raise UserError(
                f"source '{source.title}': '{name}' is not a file here and could not be fetched from the Hugging Face hub "
                f"({'it does not answer: ' if unreachable else ''}{first_line(unreachable or error)})"
            ) from None
