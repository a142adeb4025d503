"""Fills the teacher store: which texts are missing, in what portions the teacher reads them, and when shards are written."""

import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from lightning_embed.datamodules.teacher_store.lookup import TeacherLookup
from lightning_embed.datamodules.teacher_store.shard import Shard
from lightning_embed.datamodules.teacher_store.store import TeacherStore
from lightning_embed.datamodules.teacher_texts import Column, Wanted, all_columns
from lightning_embed.encoders.teacher import FrozenEncoder
from lightning_embed.errors import UserError

POOL_TEXTS = 4_096
"""Texts that are sorted by length together."""
CALL_TEXTS = 256
"""Texts that the teacher is given at a time."""
SHARD_SECONDS = 60.0
"""Seconds after which a shard is written, however few texts it has."""
MERGED_SHARDS = 16
"""Shards that a process writes before it makes one of them."""


def take_stock(
    lookup: TeacherLookup, wanted: Sequence[Wanted], read: Callable[[int], None]
) -> tuple[int, NDArray[np.int64]]:
    """How many different texts there are, and the places of those that are not stored, counted over all texts in order.

    Args:
        lookup: The teacher's vectors.
        wanted: Sources, and the roles that are wanted of each.
        read: Called with the number of texts whenever some were read.
    """
    keys = []
    for column in all_columns(wanted):
        keys.append(lookup.keys(column.texts, column.prompt, column.max_length))
        read(len(column.texts))
    different, places = np.unique(np.concatenate(keys), return_index=True)
    return len(different), np.sort(places[~lookup.store.has(different)])


def pools(wanted: Sequence[Wanted], places: NDArray[np.int64]) -> Iterator[tuple[Column, list[str]]]:
    """The texts at some places in portions for the teacher: of one prompt and length limit, and about equally long.

    Args:
        wanted: As for `take_stock`.
        places: Ascending.
    """
    waiting: dict[tuple[str, int | None], tuple[Column, list[str]]] = {}
    before = 0
    for column in all_columns(wanted):
        low, high = np.searchsorted(places, [before, before + len(column.texts)])
        _, texts = waiting.setdefault((column.prompt, column.max_length), (column, []))
        texts += [column.texts[place - before] for place in places[low:high]]
        before += len(column.texts)
        while len(texts) >= POOL_TEXTS:
            yield from _portions(column, texts[:POOL_TEXTS])
            del texts[:POOL_TEXTS]
    for column, texts in waiting.values():
        yield from _portions(column, texts)


def _portions(column: Column, texts: list[str]) -> Iterator[tuple[Column, list[str]]]:
    texts = sorted(texts, key=len, reverse=True)
    for start in range(0, len(texts), CALL_TEXTS):
        yield column, texts[start : start + CALL_TEXTS]


def encode(
    teacher: FrozenEncoder, lookup: TeacherLookup, column: Column, texts: list[str]
) -> tuple[NDArray[np.bytes_], NDArray[np.float16]]:
    """Keys and vectors of texts; in the teacher's own type, whatever the trainer's precision.

    Args:
        teacher: The teacher, on its device.
        lookup: Makes the keys.
        column: Says prompt and length limit.
        texts: n texts.

    Raises:
        UserError: If a vector is not finite.
    """
    tokens, _, _ = teacher.tokenizer(texts, column.prompt, column.max_length)
    vectors = teacher.embed(tokens.to(teacher.device)).cpu().numpy()
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(bad):
        raise UserError(
            f"teacher '{teacher.model}': its vector of the text {texts[bad[0]][:60]!r} is not finite; try dtype: float32"
        )
    return lookup.keys(texts, column.prompt, column.max_length), vectors.astype(np.float16)


class ShardWriter:
    """Collects vectors and writes a shard every so many texts and every minute; many small ones become one.

    Args:
        store: Where to.
        about: What a person calls the teacher.
        texts: Texts of a shard.
    """

    def __init__(self, store: TeacherStore, about: str, texts: int) -> None:
        self.store, self.about, self.texts = store, about, texts
        self.waiting: list[tuple[NDArray[np.bytes_], NDArray[np.float16]]] = []
        self.written: list[Shard] = []
        self.since = time.perf_counter()

    def add(self, keys: NDArray[np.bytes_], vectors: NDArray[np.float16]) -> None:
        """Takes vectors in.

        Args:
            keys: (n,) content keys that were not added before.
            vectors: (n, E).
        """
        self.waiting.append((keys, vectors))
        many = sum(len(k) for k, _ in self.waiting) >= self.texts
        if many or time.perf_counter() - self.since > SHARD_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Writes what was taken in."""
        if self.waiting:
            keys, vectors = zip(*self.waiting, strict=True)
            shard = self.store.add(np.concatenate(keys), np.concatenate(vectors), self.about)
            self.written += [] if shard is None else [shard]
            self.waiting = []
        if len(self.written) >= MERGED_SHARDS:
            self.store.tidy(self.written)
            self.written = []
        self.since = time.perf_counter()
