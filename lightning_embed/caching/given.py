"""Reads vectors that somebody else's model gave, with their texts: beside them row by row, or in a file of their own with the same ids."""

import json
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_embed.datamodules.sources.beir import entries, is_corpus
from lightning_embed.datamodules.sources.files import broken_file
from lightning_embed.errors import UserError, first_line, in_one_line

ROWS = 65_536
"""Rows that are read at a time."""


class Batch(NamedTuple):
    """Some rows of a file."""

    first: int
    """Number of the first row, from 0."""
    texts: Sequence[str]
    vectors: NDArray[Any]
    """(n, E)."""
    ids: Sequence[str] = ()
    """Where texts were found by them."""

    def row(self, place: int) -> str:
        """What a message calls a row.

        Args:
            place: Which of the batch, from 0.
        """
        return f"row {self.first + place + 1}" + (f" (id '{self.ids[place]}')" if self.ids else "")


def read_given(
    file: Path,
    text: str = "text",
    vector: str = "vector",
    texts: Path | None = None,
    id: str | None = None,
    ids: Path | None = None,
) -> Iterator[Batch]:
    """The texts and vectors of a file.

    Args:
        file: Parquet, or .npy with the texts in a file of their own.
        text: The column (or JSON key) with the texts.
        vector: The Parquet column with the vectors.
        texts: The texts of a .npy, in order: `*.txt`, one a line, or `*.jsonl`; None: the one of the same name. With ids: JSON lines of
            `_id` (or `id`), `text` and perhaps `title`, as BEIR's corpus.jsonl.
        id: The Parquet column with the ids.
        ids: The ids of a .npy, in order: `*.txt`, one a line, or a .npy of numbers or strings.

    Raises:
        UserError: If a file or column is missing or holds something else, or ids and texts do not belong together.
    """
    if not file.is_file():
        raise UserError(f"--import: no file {file} (looked from {Path.cwd()})")
    if file.suffix not in (".parquet", ".npy"):
        raise UserError(f"--import: expected a file named *.parquet or *.npy, got {file}")
    parquet = file.suffix == ".parquet"
    if parquet and ids is not None:
        raise UserError(f"--import_ids is for .npy; name the column of {file} with the ids by --import_id")
    if not parquet and id is not None:
        raise UserError(f"--import_id names a column of Parquet; give the file with the ids of {file} by --import_ids")
    if id is None and ids is None:
        if parquet and texts is not None:
            raise UserError(
                f"--import_texts: which text belongs to which row of {file}? Name its column of ids by --import_id"
            )
        return _parquet(file, vector, text) if parquet else _npy(file, *_texts_beside(file, texts, text))
    if texts is None:
        raise UserError(
            "--import_texts: give the file with the texts of these ids: JSON lines of _id and text, as BEIR's corpus.jsonl"
        )
    return _by_id(file, vector, text, texts, id, ids)


def _by_id(file: Path, vector: str, text: str, texts: Path, id: str | None, ids: Path | None) -> Iterator[Batch]:
    """Rows with the texts of their ids; ids and texts are compared before the first row."""
    names = _ids_of_column(file, id) if id is not None else _ids_of_file(ids or file)
    of = texts_by_id(file, names, texts, text)
    rows = iter(names)
    for batch in _parquet(file, vector) if ids is None else _npy(file, ids, names, "ids"):
        some = list(islice(rows, len(batch.vectors)))
        yield Batch(batch.first, [of[name] for name in some], batch.vectors, some)


def texts_by_id(file: Path, names: Sequence[str], texts: Path, key: str = "text") -> dict[str, str]:
    """Id -> text of some vectors.

    Args:
        file: The file with the vectors.
        names: Their ids, in order.
        texts: The file with the texts.
        key: The JSON key of the text.

    Raises:
        UserError: If an id appears twice, or has a vector and no text, or a text that is not blank and no vector.
    """
    rows = _each_once(names, lambda place: f"{file}, row {place + 1}")
    if not texts.is_file():
        raise UserError(f"--import_texts: no file {texts} (looked from {Path.cwd()})")
    try:
        read = list(entries(str(texts), key=key))
    except broken_file() as error:
        raise UserError(f"{texts}: it could not be read ({first_line(error)})") from None
    lines = _each_once([one.name for one in read], lambda place: f"{texts}, line {read[place].line}")
    for name, row in rows.items():
        if name not in lines:
            missing = sum(other not in lines for other in rows)
            raise UserError(
                f"{file}, row {row + 1}: the id '{name}' has no text in {texts} ({missing:,} of {len(rows):,} ids have none)"
            )
    without = [one for one in read if one.text and one.name not in rows]
    if without:
        raise UserError(
            f"{texts}, line {without[0].line}: the id '{without[0].name}' has no vector in {file} ({len(without):,} of {len(read):,} texts "
            "have none); leave such lines out"
        )
    return {one.name: one.text for one in read}


def _each_once(names: Sequence[str], where: Callable[[int], str]) -> dict[str, int]:
    """Id -> its place."""
    places: dict[str, int] = {}
    for place, name in enumerate(names):
        if places.setdefault(name, place) != place:
            raise UserError(
                f"{where(place)}: the id '{name}' appears twice, first in {where(places[name]).rpartition(', ')[2]}"
            )
    return places


def _ids_of_column(file: Path, id: str) -> list[str]:
    import pyarrow as pa

    found: list[str] = []
    table, kind = _open_parquet(file, {"--import_id": id})[id]
    if not (pa.types.is_integer(kind) or _is_text(kind)):
        raise UserError(f"{file}: column '{id}' must hold ids, texts or whole numbers, it holds {kind}")
    for part in table.iter_batches(batch_size=ROWS, columns=[id]):
        found += [None if one is None else str(one) for one in part.column(id).to_pylist()]  # type: ignore[misc]
    if None in found:
        raise UserError(f"{file}, row {found.index(None) + 1}: expected an id in column '{id}', got nothing")  # type: ignore[arg-type]
    return found


def _ids_of_file(file: Path) -> list[str]:
    if not file.is_file():
        raise UserError(f"--import_ids: no file {file} (looked from {Path.cwd()})")
    if file.suffix == ".npy":
        found = _load_npy(file)
        if found.ndim != 1 or found.dtype.kind not in "iuU":
            raise UserError(f"{file}: expected (n,) ids, whole numbers or strings, got {found.shape} of {found.dtype}")
        return [str(one) for one in found.tolist()]
    if file.suffix != ".txt":
        raise UserError(f"--import_ids: expected a file named *.txt, one id a line, or *.npy, got {file}")
    return list(_lines(file))


def _is_text(kind: Any) -> bool:
    import pyarrow as pa

    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _open_parquet(file: Path, columns: dict[str, str]) -> dict[str, tuple[Any, Any]]:
    """Column -> the opened file and the column's type.

    Args:
        file: Parquet.
        columns: Option -> the column that it names.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(file)
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{file}: it could not be read as Parquet ({in_one_line(error)})") from None
    schema = table.schema_arrow
    for option, column in columns.items():
        if column not in schema.names:
            raise UserError(f"{file}: no column '{column}'; name one of {', '.join(schema.names)} by {option}")
    return {column: (table, schema.field(column).type) for column in columns.values()}


def _parquet(file: Path, vector: str, text: str | None = None) -> Iterator[Batch]:
    """Vectors and, if their column is given, texts."""
    import pyarrow as pa
    import pyarrow.compute as pc

    texts = {} if text is None else {"--import_text": text}
    opened = _open_parquet(file, texts | {"--import_vector": vector})
    table, kind = opened[vector]
    if text is not None and not _is_text(opened[text][1]):
        raise UserError(f"{file}: column '{text}' must hold texts, it holds {opened[text][1]}")
    listed = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    if not (listed and pa.types.is_floating(kind.value_type)):
        raise UserError(f"{file}: column '{vector}' must hold lists of floats, it holds {kind}")
    first, dim = 0, None
    for part in table.iter_batches(batch_size=ROWS, columns=[*texts.values(), vector]):
        words, lists = None if text is None else part.column(text), part.column(vector)
        sizes = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
        dim = dim or int(sizes[0])
        blank = np.zeros(len(part), bool) if words is None else words.is_null().to_numpy(zero_copy_only=False)
        wrong = np.flatnonzero((sizes != dim) | blank)
        if len(wrong):
            got = "no text" if blank[wrong[0]] else f"{sizes[wrong[0]]} numbers"
            wanted = f"{dim} numbers" if text is None else f"a text and {dim} numbers"
            raise UserError(f"{file}, row {first + wrong[0] + 1}: expected {wanted}, got {got}")
        vectors = lists.flatten().to_numpy(zero_copy_only=False).reshape(len(part), dim)
        yield Batch(first, [] if words is None else words.to_pylist(), vectors)
        first += len(part)


def _load_npy(file: Path) -> NDArray[Any]:
    try:
        found: NDArray[Any] = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: it could not be read as .npy ({in_one_line(error)})") from None
    return found


def _npy(file: Path, beside: Path, texts: Sequence[str], what: str = "texts") -> Iterator[Batch]:
    """Vectors and texts (or ids) that were read from the file beside them."""
    vectors = _load_npy(file)
    if vectors.ndim != 2 or vectors.dtype.kind != "f":
        raise UserError(f"{file}: expected an (n, E) matrix of floats, got {vectors.shape} of {vectors.dtype}")
    if len(texts) != len(vectors):
        raise UserError(
            f"{file} has {len(vectors):,} vectors, but {beside} has {len(texts):,} {what}; as many are needed"
        )
    for start in range(0, len(texts), ROWS):
        yield Batch(start, texts[start : start + ROWS], np.asarray(vectors[start : start + ROWS]))


def _texts_beside(file: Path, texts: Path | None, key: str) -> tuple[Path, list[str]]:
    """The file with the texts of a .npy, and these."""
    beside = [texts] if texts else [file.with_suffix(s) for s in (".txt", ".jsonl")]
    found = next((one for one in beside if one.is_file()), None)
    if found is None:
        raise UserError(f"--import {file}: its texts were expected in {' or '.join(map(str, beside))}")
    if is_corpus(str(found)):
        return found, [one.text for one in entries(str(found), key=key)]
    return found, list(_lines(found) if found.suffix == ".txt" else _json_texts(found, key))


def _lines(file: Path) -> Iterator[str]:
    with file.open(encoding="utf-8", newline="\n") as lines:
        for line in lines:
            yield line.removesuffix("\n").removesuffix("\r")


def _json_texts(file: Path, key: str) -> Iterator[str]:
    for number, line in enumerate(_lines(file), start=1):
        try:
            text = json.loads(line)[key]
        except (ValueError, KeyError, TypeError):
            text = None
        if not isinstance(text, str):
            raise UserError(f'{file}, line {number}: expected {{"{key}": "a text"}}, got {line[:60]!r}')
        yield text
