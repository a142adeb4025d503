"""Rows given in Python (a list of dicts, a data frame, a `datasets.Dataset`) become a file in the cache, named by a hash of their content.

From then on they are like any other file: workers and ranks map it, and the caches made from it change when the rows do.
"""

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

from lightning_embed.compat.datasets import cache_folder
from lightning_embed.errors import UserError, first_line
from lightning_embed.utils.atomic import whole_file

GIVEN = "rows given in Python"
"""What messages call the file."""
READ = 1_000


class Frame(Protocol):
    """A data frame of pandas or polars, or an Arrow table, as far as a type checker must know it."""

    @property
    def columns(self) -> Any:
        """Its columns."""

    def __len__(self) -> int: ...


class DatasetOfRows(Protocol):
    """A `datasets.Dataset`, as far as a type checker must know it."""

    @property
    def column_names(self) -> Any:
        """The names of its columns."""

    def __len__(self) -> int: ...


InMemory = Sequence[Mapping[str, Any]] | Frame | DatasetOfRows


def is_in_memory(value: Any) -> bool:
    """Whether a value holds rows, or is meant to.

    Args:
        value: What is given as a source.
    """
    if isinstance(value, list | tuple):
        return any(isinstance(item, Mapping) for item in value)
    return _is(value, "pandas", "DataFrame") or hasattr(value, "__arrow_c_stream__") or _of_datasets(value)


def keep(rows: Any, name: str) -> str:
    """The file in the cache that holds some rows; written unless it is there.

    Args:
        rows: What `is_in_memory` takes.
        name: The source's name, for messages.

    Raises:
        UserError: There are no rows, one of them is no dict, or the rows cannot be read in any order.
    """
    who = f"source '{name}'"
    if _of_datasets(rows) and not _is(rows, "datasets", "Dataset"):
        _refuse(rows, who)
    if len(rows) == 0:
        raise UserError(f"{who}: the {type(rows).__name__} has no rows; give at least one")
    if _is(rows, "datasets", "Dataset"):
        return _kept(_batches(rows), lambda file: _write_batches(_batches(rows), file), "arrow")
    dicts = _dicts(rows, who)
    return _kept(_lines(dicts, who), lambda file: _write_lines(_lines(dicts, who), file), "jsonl")


def is_kept(file: str | Path) -> bool:
    """Whether a file holds rows that were given in Python.

    Args:
        file: Its path.
    """
    return Path(file).parent == _folder()


def shown(files: list[str]) -> list[str]:
    """What messages call some files.

    Args:
        files: Their paths.
    """
    return [GIVEN] if files and is_kept(files[0]) else files


def _folder() -> Path:
    return cache_folder() / "lightning_embed" / "rows"


def _is(value: Any, module: str, name: str) -> bool:
    """Whether a value is of a class of a module, which is not imported for that."""
    kind = getattr(sys.modules.get(module), name, None)
    return isinstance(kind, type) and isinstance(value, kind)


def _of_datasets(value: Any) -> bool:
    return any(
        _is(value, "datasets", name) for name in ("Dataset", "DatasetDict", "IterableDataset", "IterableDatasetDict")
    )


def _refuse(rows: Any, who: str) -> None:
    kind = type(rows).__name__
    if isinstance(rows, Mapping):
        splits = list(map(str, rows))
        raise UserError(
            f"{who}: the {kind} has the splits {', '.join(splits)}; give one of them, e.g. data['{splits[0]}']"
        )
    raise UserError(
        f"{who}: rows are read in random order, and an {kind} gives them one after the other only; make a Dataset of it, e.g. "
        "datasets.Dataset.from_list(list(rows.take(100_000)))"
    )


def _dicts(rows: Any, who: str) -> Sequence[Any]:
    if isinstance(rows, list | tuple):
        return rows
    try:
        if _is(rows, "pandas", "DataFrame"):
            return _records(rows, who)
        import pyarrow as pa

        return pa.table(rows).to_pylist()
    except UserError:
        raise
    except Exception as error:  # types that Arrow has not
        raise UserError(f"{who}: the {type(rows).__name__} cannot be read ({first_line(error)})") from None


def _records(frame: Any, who: str) -> list[Any]:
    """The rows of a pandas frame, with its index where that has a name."""
    if any(name is not None for name in frame.index.names):
        frame = frame.reset_index()
    if not frame.columns.is_unique:
        raise UserError(f"{who}: the column '{frame.columns[frame.columns.duplicated()][0]}' appears twice; rename one")
    records: list[Any] = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return records


def _lines(rows: Sequence[Any], who: str) -> Iterator[bytes]:
    """Each row as a line of JSON."""
    encode = json.JSONEncoder(default=_plain).encode
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, Mapping):
            raise UserError(
                f"{who}: row {number}: expected a dict such as {{'anchor': ..., 'positive': ...}}, got {row!r:.60}"
            )
        try:
            yield encode(row if isinstance(row, dict) else dict(row)).encode() + b"\n"
        except (ValueError, TypeError, RecursionError) as error:
            raise UserError(f"{who}: row {number}: {first_line(error)}") from None


def _plain(value: Any) -> Any:
    """A value that JSON does not know. Where it is none of these it becomes an object, which no role takes: the reader names the row."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, set | frozenset):
        return sorted(value, key=str)
    if hasattr(value, "tolist"):  # numpy's arrays and numbers
        return value.tolist()
    if _is(value, "pandas", "Timestamp") or hasattr(value, "isoformat"):
        return value.isoformat()
    if type(value).__name__ in ("NAType", "NaTType"):
        return None
    return {"a Python object of class": type(value).__qualname__}


def _write_lines(lines: Iterable[bytes], file: Path) -> None:
    with file.open("wb") as stream:
        stream.writelines(lines)


def _batches(dataset: Any) -> Iterator[Any]:
    """The rows in Arrow's record batches, whose bytes depend on the rows alone."""
    schema = dataset.features.arrow_schema.remove_metadata()
    for table in dataset.with_format("arrow").iter(READ):
        yield table.cast(schema).combine_chunks().to_batches()[0]


def _write_batches(batches: Iterator[Any], file: Path) -> None:
    import pyarrow as pa

    first = next(batches)
    with pa.ipc.new_stream(file, first.schema) as stream:
        for batch in chain([first], batches):
            stream.write_batch(batch)


def _kept(parts: Iterable[Any], write: Callable[[Path], None], kind: str) -> str:
    """The file whose name is the hash of some rows: lines, or record batches."""
    content = blake2b(digest_size=16)
    for part in parts:
        content.update(part if isinstance(part, bytes) else part.schema.serialize().to_pybytes() + part.serialize())
    file = _folder() / f"{content.hexdigest()}.{kind}"
    if not file.is_file():
        with whole_file(file) as partial:
            write(partial)
            os.utime(partial, (0, 0))  # caches know a file by its time of change too: the same rows, the same time
    return str(file)
