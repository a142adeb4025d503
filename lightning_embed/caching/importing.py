"""Imports vectors that somebody else's model gave, such as an API's, into the teacher store."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_embed.datamodules.teacher_store.lookup import store_folder
from lightning_embed.datamodules.teacher_store.store import TeacherStore, content_keys
from lightning_embed.encoders.teacher import given_identity
from lightning_embed.errors import UserError, in_one_line

ROWS = 65_536
"""Rows that are read at a time."""
LEAST_COSINE = 0.999
"""Two vectors of one text and name that are less alike are a mistake."""


class Batch(NamedTuple):
    """Some rows of a file."""

    first: int
    """Number of the first row, from 0."""
    texts: list[str]
    vectors: NDArray[Any]
    """(n, E)."""


def read_given(file: Path, text: str, vector: str, texts: Path | None) -> Iterator[Batch]:
    """The texts and vectors of a file.

    Args:
        file: Parquet, or .npy with the texts in a file of their own.
        text: The column (or JSON key) with the texts.
        vector: The Parquet column with the vectors.
        texts: The texts of a .npy, in order: `*.txt`, one a line, or `*.jsonl`; None: the one of the same name.

    Raises:
        UserError: If a file or column is missing or holds something else.
    """
    if not file.is_file():
        raise UserError(f"--import: no file {file} (looked from {Path.cwd()})")
    if file.suffix == ".parquet":
        return _parquet(file, text, vector)
    if file.suffix == ".npy":
        beside = [texts] if texts else [file.with_suffix(s) for s in (".txt", ".jsonl")]
        found = [one for one in beside if one.is_file()]
        if not found:
            raise UserError(f"--import {file}: its texts were expected in {' or '.join(map(str, beside))}")
        return _npy(file, found[0], text)
    raise UserError(f"--import: expected a file named *.parquet or *.npy, got {file}")


def _parquet(file: Path, text: str, vector: str) -> Iterator[Batch]:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(file)
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{file}: it could not be read as Parquet ({in_one_line(error)})") from None
    schema = table.schema_arrow
    for option, column in (("--import_text", text), ("--import_vector", vector)):
        if column not in schema.names:
            raise UserError(f"{file}: no column '{column}'; name one of {', '.join(schema.names)} by {option}")
    if not (pa.types.is_string(schema.field(text).type) or pa.types.is_large_string(schema.field(text).type)):
        raise UserError(f"{file}: column '{text}' must hold texts, it holds {schema.field(text).type}")
    kind = schema.field(vector).type
    listed = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    if not (listed and pa.types.is_floating(kind.value_type)):
        raise UserError(f"{file}: column '{vector}' must hold lists of floats, it holds {kind}")
    first, dim = 0, None
    for part in table.iter_batches(batch_size=ROWS, columns=[text, vector]):
        words, lists = part.column(text), part.column(vector)
        sizes = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
        dim = dim or int(sizes[0])
        wrong = np.flatnonzero((sizes != dim) | words.is_null().to_numpy(zero_copy_only=False))
        if len(wrong):
            got = "no text" if words[int(wrong[0])].as_py() is None else f"{sizes[wrong[0]]} numbers"
            raise UserError(f"{file}, row {first + wrong[0] + 1}: expected a text and {dim} numbers, got {got}")
        vectors = lists.flatten().to_numpy(zero_copy_only=False).reshape(len(part), dim)
        yield Batch(first, words.to_pylist(), vectors)
        first += len(part)


def _npy(file: Path, beside: Path, key: str) -> Iterator[Batch]:
    try:
        vectors = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: it could not be read as .npy ({in_one_line(error)})") from None
    if vectors.ndim != 2 or vectors.dtype.kind != "f":
        raise UserError(f"{file}: expected an (n, E) matrix of floats, got {vectors.shape} of {vectors.dtype}")
    texts = list(_texts(beside, key))
    if len(texts) != len(vectors):
        raise UserError(
            f"{file} has {len(vectors):,} vectors, but {beside} has {len(texts):,} texts; as many are needed"
        )
    for start in range(0, len(texts), ROWS):
        yield Batch(start, texts[start : start + ROWS], np.asarray(vectors[start : start + ROWS]))


def _texts(file: Path, key: str) -> Iterator[str]:
    with file.open(encoding="utf-8", newline="\n") as lines:
        for number, line in enumerate(lines, start=1):
            line = line.removesuffix("\n").removesuffix("\r")
            if file.suffix == ".txt":
                yield line
                continue
            try:
                text = json.loads(line)[key]
            except (ValueError, KeyError, TypeError):
                text = None
            if not isinstance(text, str):
                raise UserError(f'{file}, line {number}: expected {{"{key}": "a text"}}, got {line[:60]!r}')
            yield text


def import_vectors(
    file: str | Path,
    name: str,
    teacher_store: str | Path | None = None,
    text: str = "text",
    vector: str = "vector",
    texts: str | Path | None = None,
    prompt: str = "",
) -> tuple[TeacherStore, int]:
    """Stores given vectors, scaled to length 1, under a name; returns the store and how many are new.

    Args:
        file: Parquet, or .npy with the texts in a file of their own.
        name: What the teacher is called from now on, in `StoredTeacher(name, dim)`.
        teacher_store: Folder of all stored teachers, as in `fit`; None: the user's cache folder.
        text: The column (or JSON key) with the texts.
        vector: The Parquet column with the vectors.
        texts: The texts of a .npy, in order: `*.txt`, one a line, or `*.jsonl`; None: the one of the same name.
        prompt: What stood before each text when the vectors were made.

    Raises:
        UserError: If a vector is not finite or zero, or a text has another vector under this name already.
    """
    if not name:
        raise UserError("--import needs a name for the teacher that gave the vectors: --import_name NAME")
    file, texts = Path(file), None if texts is None else Path(texts)
    folder = store_folder(teacher_store)
    store: TeacherStore | None = None
    new = 0
    for batch in read_given(file, text, vector, texts):
        vectors = batch.vectors.astype(np.float32)
        length = np.linalg.norm(vectors, axis=1)
        bad = np.flatnonzero(~(np.isfinite(length) & (length > 0)))
        if len(bad):
            raise UserError(
                f"{file}, row {batch.first + bad[0] + 1}: expected a vector of numbers that are not all zero"
            )
        vectors /= length[:, None]
        keys = content_keys(batch.texts, prompt)
        store = store or TeacherStore(folder, given_identity(name, vectors.shape[1]))
        known, stored = store.find(keys)
        _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
        other = np.where(stored[:, None], known.astype(np.float32), vectors[first[inverse]])
        torn = np.flatnonzero((other * vectors).sum(axis=1) < LEAST_COSINE)
        if len(torn):
            raise UserError(
                f"{file}, row {batch.first + torn[0] + 1}: the text {batch.texts[torn[0]][:60]!r} has another vector under the name "
                f"'{name}' already; import under another name, or delete {store.path}"
            )
        fresh = first[~stored[first]]
        if len(fresh):
            store.add(keys[fresh], vectors[fresh].astype(np.float16), name)
            store.refresh()
            new += len(fresh)
    if store is None:
        raise UserError(f"{file}: it has no rows")
    store.tidy()
    store.refresh()
    return store, new
