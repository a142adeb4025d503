"""Sources: where rows come from, and which column plays which role."""

import glob
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_embed.batch import ANCHOR, NEGATIVE, POSITIVE
from lightning_embed.datamodules.bad_rows import check_texts, explain_unreadable
from lightning_embed.errors import UserError

FORMATS = {"json": "json", "jsonl": "json", "csv": "csv", "tsv": "csv", "parquet": "parquet", "arrow": "arrow"}
SCORE, LABEL = "score", "label"
ALIASES = {"query": ANCHOR, "text": ANCHOR, "pos": POSITIVE, "neg": NEGATIVE}
"""Other names by which a role's column is known (FlagEmbedding's, and a lone text)."""


@dataclass
class Source:
    """Rows of one data set.

    A row has an `anchor` and, as needed, a `positive`, negatives (`negative`, a text or a list, or `negative_1` … `negative_n`), a
    `score` and a `label`.
    """

    path: str | list[str]
    """JSONL, JSON, CSV, TSV, Parquet or Arrow file(s), also with glob characters or compressed (.gz, .zst); a folder that
    `datasets.save_to_disk` wrote; or a Hugging Face data set's id."""
    columns: dict[str, str] | None = None
    """Role -> column of the data. None: columns named as roles, or as FlagEmbedding names them (query, pos, neg)."""
    name: str | None = None
    """What the source is called in logs and messages. None: the file's name."""
    split: str = "train"
    """Split of a Hugging Face data set."""
    prompts: dict[str, str] | None = None
    """Role -> whose prompt its texts get, `query` or `document`. None: anchors are queries, all others (and lone texts) documents."""

    @property
    def title(self) -> str:
        """The source's name."""
        first = self.path if isinstance(self.path, str) else self.path[0]
        return self.name or Path(first).name.split(".")[0]

    def prompt_of(self, role: str, roles: set[str]) -> str:
        """Whose prompt a role's texts get.

        Args:
            role: The role.
            roles: All roles of the source.
        """
        return (self.prompts or {}).get(role, "query" if role == ANCHOR and len(roles) > 1 else "document")


class Rows:
    """A source's rows, memory-mapped; `rows[i]` gives role -> value."""

    def __init__(self, source: Source, table: Any, roles: dict[str, list[str]], files: list[str]) -> None:
        self.source, self.files, self._roles = source, files, roles
        self._table = table.select_columns([column for columns in roles.values() for column in columns])

    def __len__(self) -> int:
        return len(self._table)

    @property
    def roles(self) -> set[str]:
        """The text roles that the source has."""
        return set(self._roles) - {SCORE, LABEL}

    def take(self, rows: list[int]) -> dict[str, list[Any]]:
        """Role -> values of some rows; `negative` holds a list of texts per row.

        Args:
            rows: Row numbers from 0.
        """
        got = self._table[rows]
        taken: dict[str, list[Any]] = {}
        for role, columns in self._roles.items():
            if role != NEGATIVE:
                taken[role] = got[columns[0]]
                continue
            cells = zip(*(got[column] for column in columns), strict=True)
            taken[role] = [
                [t for cell in row for t in (cell if isinstance(cell, list) else [cell]) if t] for row in cells
            ]
        return taken


def open_source(source: Source, needed: tuple[str, ...] = (ANCHOR, POSITIVE)) -> Rows:
    """Opens a source and checks its columns and texts.

    Args:
        source: What to open.
        needed: Roles that it must have.

    Raises:
        UserError: If a file is missing, empty or unreadable, a role has no column, or a text is empty.
    """
    table, files = _read(source)
    if len(table) == 0:
        raise UserError(f"source '{source.title}': no rows in {', '.join(files)}; give a file with at least one row")
    roles = _roles(source, table.column_names)
    missing = [role for role in needed if role not in roles]
    if missing:
        raise UserError(
            f"source '{source.title}': no column for {', '.join(missing)}; the columns found are "
            f"{', '.join(table.column_names)}; name one in `columns`, e.g. {{{missing[0]}: {table.column_names[0]}}}"
        )
    check_texts(
        table, {role: columns for role, columns in roles.items() if role not in (SCORE, LABEL)}, source.title, files
    )
    return Rows(source, table, roles, files)


def _roles(source: Source, found: list[str]) -> dict[str, list[str]]:
    """Role -> the columns that play it."""
    if source.columns is not None:
        for wanted, column in source.columns.items():
            if column not in found:
                raise UserError(
                    f"source '{source.title}': `columns` maps {wanted} to '{column}', which is not among the columns found: "
                    f"{', '.join(found)}"
                )
    named = {column: role for role, column in (source.columns or {}).items()}
    roles: dict[str, list[str]] = {}
    role: str | None
    for column in found:
        known = ALIASES.get(column, column) if ALIASES.get(column) not in found else column
        role = named.get(column) if source.columns is not None else known
        if role is None:
            continue
        head, _, number = role.partition("_")
        role = NEGATIVE if head == NEGATIVE and (number.isdigit() or not number) else role
        if role in (ANCHOR, POSITIVE, NEGATIVE, SCORE, LABEL):
            roles.setdefault(role, []).append(column)
    return roles


def _read(source: Source) -> tuple[Any, list[str]]:
    """The table and the files it came from."""
    import datasets

    datasets.disable_progress_bars()
    paths = [source.path] if isinstance(source.path, str) else list(source.path)
    if len(paths) == 1 and Path(paths[0]).is_dir():
        if not (Path(paths[0]) / "dataset_info.json").is_file():
            raise UserError(
                f"source '{source.title}': {paths[0]} is a folder that datasets.save_to_disk did not write; name its files"
            )
        return datasets.load_from_disk(paths[0]), paths
    if len(paths) == 1 and _is_hub_id(paths[0]):
        return _from_hub(source, paths[0]), paths
    files = _expand(source, paths)
    kinds = {_format(file) for file in files}
    if len(kinds) > 1:
        raise UserError(
            f"source '{source.title}': its files are of several formats ({', '.join(sorted(kinds))}); make one source of each"
        )
    kind = kinds.pop()
    options = {"sep": "\t"} if ".tsv" in Path(files[0]).suffixes else {}
    try:
        return datasets.load_dataset(kind, data_files=files, split="train", **options), files
    except Exception as error:  # datasets wraps each reader's own exceptions
        raise explain_unreadable(error, source.title, files, kind) from None


def _from_hub(source: Source, name: str) -> Any:
    import datasets

    try:
        return datasets.load_dataset(name, split=source.split)
    except Exception as error:  # no network, no such data set or split: the client raises many kinds
        reason = str(error).strip().splitlines()[0][:160]
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
    )


def _expand(source: Source, paths: list[str]) -> list[str]:
    files: list[str] = []
    for path in paths:
        path = str(Path(path).expanduser())
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
        if suffix[1:] in FORMATS:
            return FORMATS[suffix[1:]]
    raise UserError(
        f"{file}: expected a file named *.jsonl, .json, .csv, .tsv, .parquet or .arrow (also .gz, .zst); rename it"
    )
