"""A shard of the teacher store: vectors and the sorted keys of their texts, in a folder that is there whole or not at all.

    NAME/keys.npy      (n,) 20 bytes each, sorted: a text's content key (16), then the CRC-32 of key and vector (4)
    NAME/vectors.npy   (n, E) float16
    NAME/shard.json    n, E, and the BLAKE2b of both files

A shard is written under a hidden name and renamed when it is complete: what a killed process leaves is never read. The two checksums
have two uses: `problem` holds both files against theirs, which reads the whole shard; each row's own is held against it whenever the
row is used, so that no damaged vector is ever taken for good, at a microsecond a row.
"""

import hashlib
import json
import os
import uuid
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lightning_embed.errors import in_one_line
from lightning_embed.utils.atomic import remove, remove_at_once, whole_folder

KEY_BYTES, SUM_BYTES = 16, 4
KEY, ENTRY = np.dtype(f"S{KEY_BYTES}"), np.dtype(f"S{KEY_BYTES + SUM_BYTES}")
_FILES = ("keys.npy", "vectors.npy")
_MERGED_ROWS = 16_384


class DamagedShard(Exception):
    """A shard that cannot be opened."""


def _bytes(keys: NDArray[np.bytes_]) -> NDArray[np.uint8]:
    """(n, width) the bytes of fixed-width strings; numpy's own conversions drop zeros at their ends."""
    return np.ascontiguousarray(keys).view(np.uint8).reshape(len(keys), keys.dtype.itemsize)


def _entries(keys: NDArray[np.bytes_], sums: NDArray[np.uint32] | None = None) -> NDArray[np.bytes_]:
    """Keys with their row's checksum behind them; without one, what sorts just before the key's entry."""
    wide = np.zeros((len(keys), ENTRY.itemsize), dtype=np.uint8)
    wide[:, :KEY_BYTES] = _bytes(keys)
    if sums is not None:
        wide[:, KEY_BYTES:] = sums.astype("<u4").view(np.uint8).reshape(-1, SUM_BYTES)
    return wide.view(ENTRY).reshape(len(keys))


def _sums(keys: NDArray[np.uint8], vectors: NDArray[np.float16]) -> NDArray[np.uint32]:
    """CRC-32 of each key and its vector."""
    rows = zip(keys, np.ascontiguousarray(vectors), strict=True)
    return np.array([zlib.crc32(vector.data, zlib.crc32(key.data)) for key, vector in rows], dtype=np.uint32)


class Shard:
    """An opened shard, memory-mapped.

    Args:
        path: Its folder.

    Raises:
        FileNotFoundError: If it is gone.
        DamagedShard: If its files do not fit together.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            about = json.loads((path / "shard.json").read_text(encoding="utf-8"))
            self.entries, self.vectors = (np.load(path / name, mmap_mode="r", allow_pickle=False) for name in _FILES)
            rows, dim = about["rows"], about["dim"]
        except FileNotFoundError:
            if path.is_dir():
                raise DamagedShard("a file is missing") from None
            raise
        except Exception as error:  # numpy's readers raise many kinds at a damaged header
            raise DamagedShard(in_one_line(error, 120)) from None
        if (self.entries.dtype, self.entries.shape) != (ENTRY, (rows,)):
            raise DamagedShard("keys.npy has another size than shard.json says")
        if (self.vectors.dtype, self.vectors.shape) != (np.float16, (rows, dim)):
            raise DamagedShard("vectors.npy has another size than shard.json says")

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def size(self) -> int:
        """Bytes of its vectors and keys."""
        return int(self.entries.nbytes + self.vectors.nbytes)

    def find(self, keys: NDArray[np.bytes_]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """The row of each key, and whether it is there at all.

        Args:
            keys: (m,) content keys.
        """
        wanted = _entries(keys)
        rows = np.searchsorted(self.entries, wanted)
        near = _bytes(np.asarray(self.entries[np.minimum(rows, len(self) - 1)]))
        same = (near[:, :KEY_BYTES] == _bytes(keys)).all(axis=1) & (rows < len(self))
        return rows, same

    def take(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.float16], NDArray[np.bool_]]:
        """(m, E) the vectors of some rows, and for each whether its checksum is right.

        Args:
            rows: (m,) row numbers.
        """
        entries, vectors = _bytes(np.asarray(self.entries[rows])), np.asarray(self.vectors[rows])
        stored = np.ascontiguousarray(entries[:, KEY_BYTES:]).view("<u4").reshape(len(rows))
        return vectors, _sums(np.ascontiguousarray(entries[:, :KEY_BYTES]), vectors) == stored


def shard_names(folder: Path) -> list[str]:
    """Names of the completed shards of a teacher's folder, in order.

    Args:
        folder: The teacher's folder; it need not exist.
    """
    if not folder.is_dir():
        return []
    return sorted(e.name for e in os.scandir(folder) if e.is_dir() and e.name.startswith("shard-"))


def write_shard(folder: Path, keys: NDArray[np.bytes_], vectors: NDArray[np.float16]) -> Path:
    """Writes a shard and returns its path.

    Args:
        folder: The teacher's folder.
        keys: (n,) distinct content keys, in any order.
        vectors: (n, E).
    """
    order = np.argsort(keys, kind="stable")
    vectors = np.ascontiguousarray(vectors[order], dtype=np.float16)
    entries = _entries(keys[order], _sums(_bytes(keys[order]), vectors))
    path = _new(folder)
    with whole_folder(path) as hidden:
        np.save(hidden / "keys.npy", entries)
        np.save(hidden / "vectors.npy", vectors)
        _describe(hidden, len(entries), vectors.shape[1])
    return path


def merge_shards(folder: Path, shards: Sequence[Shard]) -> Path | None:
    """Writes the rows of several shards as one, each key once, and deletes them; None, and nothing done, if a row is damaged.

    Args:
        folder: The teacher's folder.
        shards: At least one.
    """
    entries = np.concatenate([np.asarray(shard.entries) for shard in shards])
    source = np.repeat(np.arange(len(shards)), [len(shard) for shard in shards])
    row = np.concatenate([np.arange(len(shard)) for shard in shards])
    order = np.argsort(entries, kind="stable")
    keys = _bytes(entries[order])[:, :KEY_BYTES]
    order = order[np.append(True, (keys[1:] != keys[:-1]).any(axis=1))]
    path, shape = _new(folder), (len(order), shards[0].vectors.shape[1])
    with whole_folder(path) as hidden:
        merged = np.lib.format.open_memmap(hidden / "vectors.npy", mode="w+", dtype=np.float16, shape=shape)
        for start in range(0, len(order), _MERGED_ROWS):
            part = order[start : start + _MERGED_ROWS]
            for number in np.unique(source[part]):
                mine = np.flatnonzero(source[part] == number)
                merged[start + mine], whole = shards[number].take(row[part[mine]])
                if not whole.all():
                    remove(hidden)
                    return None
        merged.flush()
        np.save(hidden / "keys.npy", entries[order])
        _describe(hidden, *shape)
    for shard in shards:
        remove_at_once(shard.path)
    return path


def problem(path: Path) -> str | None:
    """What is wrong with a shard, after reading all of it; None: nothing.

    Args:
        path: Its folder.
    """
    try:
        Shard(path)
        stored = json.loads((path / "shard.json").read_text(encoding="utf-8"))["checksums"]
        wrong = [name for name in _FILES if _digest(path / name) != stored.get(name)]
    except DamagedShard as error:
        return str(error)
    except (OSError, AttributeError, KeyError, TypeError) as error:
        return f"it could not be read ({error})"
    return f"{' and '.join(wrong)} differs from the checksum" if wrong else None


def _new(folder: Path) -> Path:
    return folder / f"shard-{uuid.uuid4().hex[:12]}"


def _describe(hidden: Path, rows: int, dim: int) -> None:
    """Adds shard.json."""
    about = {"rows": rows, "dim": dim, "checksums": {name: _digest(hidden / name) for name in _FILES}}
    (hidden / "shard.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
