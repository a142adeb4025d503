"""Vectors by text: what one evaluation encoded, the next one reads."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from lightning_embed.errors import UserError
from lightning_embed.utils.atomic import whole_file

Encode = Callable[[list[str]], np.ndarray]
"""Maps n texts to their (n, D) vectors."""

_CHUNK = 512
"""Texts that are encoded and stored at once: what a stopped run may have to encode again."""

_KEY = 16


class EmbeddingCache:
    """The vectors of one model's texts, in memory or in a folder that several processes may write to.

    Each chunk is a .npy file of (key, vector) rows, which appears whole or not at all: a killed run loses a chunk at most.

    Args:
        folder: Where the chunks are; it must belong to this model alone. None: memory.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self.encoded = 0
        """Texts that this object had to encode."""
        self._chunks: list[np.ndarray] = []
        self._where: dict[bytes, tuple[int, int]] = {}
        if folder is None:
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for file in sorted(folder.glob("*.npy")):
                self._take(np.load(file, mmap_mode="r", allow_pickle=False))
        except (OSError, ValueError) as error:
            raise UserError(f"{folder}: the cache of embeddings cannot be read: {error}; delete it") from None

    def vectors(
        self, texts: Sequence[str], context: str, encode: Encode, on_chunk: Callable[[int], None]
    ) -> np.ndarray:
        """(n, D) float32 vectors; those that are not there are encoded, longest texts first, and kept.

        Args:
            texts: n texts, n at least 1.
            context: What else a vector depends on: the role and the prompt.
            encode: Called with some of the texts.
            on_chunk: Called with the number of texts whenever some were encoded.

        Raises:
            UserError: Some vectors hold NaN or infinity.
        """
        keys = [_key(context, text) for text in texts]
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in self._where}
        todo = sorted(missing, key=lambda key: -len(missing[key]))
        for start in range(0, len(todo), _CHUNK):
            part = todo[start : start + _CHUNK]
            self._add(part, _finite(encode([missing[key] for key in part]), [missing[key] for key in part]))
            on_chunk(len(part))
        places = np.array([self._where[key] for key in keys])
        result = np.empty((len(keys), self._chunks[places[0, 0]]["vector"].shape[1]), dtype=np.float32)
        for chunk in np.unique(places[:, 0]):
            rows = np.flatnonzero(places[:, 0] == chunk)
            result[rows] = self._chunks[chunk]["vector"][places[rows, 1]]
        return result

    def _take(self, chunk: np.ndarray) -> None:
        number = len(self._chunks)
        self._chunks.append(chunk)
        for row, key in enumerate(np.ascontiguousarray(chunk["key"])):
            self._where[key.tobytes()] = (number, row)

    def _add(self, keys: list[bytes], vectors: np.ndarray) -> None:
        kind = np.dtype([("key", "u1", (_KEY,)), ("vector", "<f4", (vectors.shape[1],))])
        chunk = np.empty(len(keys), dtype=kind)
        chunk["key"] = np.frombuffer(b"".join(keys), dtype="u1").reshape(-1, _KEY)
        chunk["vector"] = vectors
        self.encoded += len(keys)
        if self.folder is not None:
            name = f"{time.time_ns():020d}-{os.getpid()}.npy"
            try:
                with whole_file(self.folder / name) as partial, partial.open("wb") as file:
                    np.save(file, chunk, allow_pickle=False)
            except OSError as error:
                raise UserError(f"{self.folder}: the embeddings cannot be kept there: {error.strerror}") from None
        self._take(chunk)


def _key(context: str, text: str) -> bytes:
    return hashlib.blake2b(f"{context}\0{text}".encode("utf-8", "surrogatepass"), digest_size=_KEY).digest()


def _finite(vectors: np.ndarray, texts: list[str]) -> np.ndarray:
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(bad):
        first = " ".join(texts[bad[0]].split())[:60]
        raise UserError(
            f"the model gives NaN or infinity for {len(bad)} of {len(texts)} texts, first for '{first}': "
            "its training has diverged, or its precision is too low"
        )
    return vectors
