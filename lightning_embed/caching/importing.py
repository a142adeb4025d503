"""Imports vectors that somebody else's model gave, such as an API's, into the teacher store."""

from pathlib import Path

import numpy as np

from lightning_embed.caching.given import read_given
from lightning_embed.datamodules.teacher_store.lookup import store_folder
from lightning_embed.datamodules.teacher_store.store import TeacherStore, content_keys
from lightning_embed.encoders.teacher import given_identity
from lightning_embed.errors import UserError

LEAST_COSINE = 0.999
"""Two vectors of one text and name that are less alike are a mistake."""


def import_vectors(
    file: str | Path,
    name: str,
    teacher_store: str | Path | None = None,
    text: str = "text",
    vector: str = "vector",
    texts: str | Path | None = None,
    prompt: str = "",
    id: str | None = None,
    ids: str | Path | None = None,
) -> tuple[TeacherStore, int]:
    """Stores given vectors, scaled to length 1, under a name; returns the store and how many are new.

    Args:
        file: Parquet, or .npy with the texts in a file of their own.
        name: What the teacher is called from now on, in `StoredTeacher(name, dim)`.
        teacher_store: Folder of all stored teachers, as in `fit`; None: the user's cache folder.
        text: The column (or JSON key) with the texts.
        vector: The Parquet column with the vectors.
        texts: The texts of a .npy, in order: `*.txt`, one a line, or `*.jsonl`; None: the one of the same name. With ids: JSON lines of
            `_id` (or `id`), `text` and perhaps `title`, as BEIR's corpus.jsonl.
        prompt: What preceded each text when the vectors were made.
        id: The Parquet column with the ids.
        ids: The ids of a .npy, in order: `*.txt`, one a line, or a .npy of numbers or strings.

    Raises:
        UserError: If a file cannot be read, ids and texts do not belong together, a vector is not finite or zero, or a text has another
            vector under this name already.
    """
    if not name:
        raise UserError("--import needs a name for the teacher that gave the vectors: --import_name NAME")
    file = Path(file)
    texts, ids = (None if one is None else Path(one) for one in (texts, ids))
    folder = store_folder(teacher_store)
    store: TeacherStore | None = None
    new = 0
    for batch in read_given(file, text, vector, texts, id, ids):
        vectors = batch.vectors.astype(np.float32)
        length = np.linalg.norm(vectors, axis=1)
        bad = np.flatnonzero(~(np.isfinite(length) & (length > 0)))
        if len(bad):
            raise UserError(f"{file}, {batch.row(bad[0])}: expected a vector of numbers that are not all zero")
        vectors /= length[:, None]
        keys = content_keys(batch.texts, prompt)
        store = store or TeacherStore(folder, given_identity(name, vectors.shape[1]))
        known, stored = store.find(keys)
        _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
        other = np.where(stored[:, None], known.astype(np.float32), vectors[first[inverse]])
        torn = np.flatnonzero((other * vectors).sum(axis=1) < LEAST_COSINE)
        if len(torn):
            raise UserError(
                f"{file}, {batch.row(torn[0])}: the text {batch.texts[torn[0]][:60]!r} has another vector under the name "
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
