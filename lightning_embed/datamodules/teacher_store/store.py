"""The teacher store: a frozen teacher's vectors on disk, found by what they were made of.

    FOLDER/TEACHER ID/identity.json    what the id is a hash of: the weights' hash, tokenizer, pooling, dim, ...
    FOLDER/TEACHER ID/shard-*/         rows of (content key, vector), see store_shard

The content key is a hash of the prompt and the text, as the teacher reads them, and of the length at which it cuts them. So another
prompt, length or teacher finds nothing rather than a wrong vector, and any number of teachers lie side by side. Shards are memory-
mapped: ten million vectors are open in milliseconds and take no memory until they are read. Opening looks at names and sizes only; a
row's own checksum is looked at whenever the row is used, and all of a shard's bytes by `cache` and `cache --verify`.
"""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_embed.datamodules.teacher_store.shard import (
    KEY,
    KEY_BYTES,
    DamagedShard,
    Shard,
    merge_shards,
    problem,
    shard_names,
    write_shard,
)
from lightning_embed.errors import UserError
from lightning_embed.utils.atomic import delete_stale, write_whole
from lightning_embed.utils.folders import user_cache

FORMAT = 1
"""Raise it whenever older shards must no longer be found."""
SMALL_SHARD = 512 << 20
"""Bytes; `tidy` merges shards that are smaller."""


def default_folder() -> Path:
    """`teachers` in the user's cache folder."""
    return user_cache() / "teachers"


def teacher_id(identity: Mapping[str, Any]) -> str:
    """16 hexadecimal digits that identify a teacher.

    Args:
        identity: Everything its vectors depend on besides the text.
    """
    content = json.dumps({**identity, "format": FORMAT}, sort_keys=True)
    return blake2b(content.encode(), digest_size=8).hexdigest()


def content_keys(texts: Sequence[str], prompt: str = "", max_length: int | None = None) -> NDArray[np.bytes_]:
    """(n,) 128-bit keys of texts, the same in every process.

    Args:
        texts: n texts.
        prompt: What precedes each.
        max_length: Tokens after which the teacher cuts them; None: not known, as with given vectors.
    """
    start = blake2b(f"{max_length}\n".encode() + prompt.encode("utf-8", "surrogatepass"), digest_size=KEY_BYTES)
    keys = bytearray()
    for text in texts:
        one = start.copy()
        one.update(text.encode("utf-8", "surrogatepass"))
        keys += one.digest()
    return np.frombuffer(bytes(keys), dtype=KEY)


class TeacherStore:
    """The stored vectors of one teacher; what it holds is what was complete when it was opened.

    Args:
        folder: Folder of all teachers.
        identity: Everything the vectors depend on besides the text, `dim` (E) included.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        self.identity = dict(identity)
        self.dim = int(identity["dim"])
        self.path = folder / teacher_id(identity)
        self.refresh()

    def __getstate__(self) -> dict[str, Any]:
        """Memory maps are opened again in a worker that was not forked."""
        return {key: value for key, value in self.__dict__.items() if key != "shards"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.refresh()

    def __len__(self) -> int:
        """Stored vectors."""
        return sum(len(shard) for shard in self.shards)

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return sum(shard.size for shard in self.shards)

    def refresh(self) -> None:
        """Looks again which shards there are; `damaged` names those that cannot be opened."""
        for _ in range(10):
            shards, self.damaged = [], dict[str, str]()
            try:
                for name in shard_names(self.path):
                    try:
                        shards.append(Shard(self.path / name))
                    except DamagedShard as reason:
                        self.damaged[name] = str(reason)
                break
            except FileNotFoundError:  # another process has just merged it with others: look again
                continue
        self.shards = sorted(shards, key=len, reverse=True)
        self._told: set[Path] = set()

    def has(self, keys: NDArray[np.bytes_]) -> NDArray[np.bool_]:
        """(n,) which keys are stored, without reading a vector.

        Args:
            keys: (n,) content keys; sorted ones are found quickest.
        """
        found = np.zeros(len(keys), dtype=bool)
        for shard in self.shards:
            left = np.flatnonzero(~found)
            found[left] = shard.find(keys[left])[1]
        return found

    def find(self, keys: NDArray[np.bytes_]) -> tuple[NDArray[np.float16], NDArray[np.bool_]]:
        """(n, E) vectors, zeros where there is none, and (n,) whether there is one; a damaged one counts as missing.

        Args:
            keys: (n,) content keys.
        """
        vectors = np.zeros((len(keys), self.dim), dtype=np.float16)
        found = np.zeros(len(keys), dtype=bool)
        for shard in self.shards:
            left = np.flatnonzero(~found)
            if not len(left):
                break
            rows, here = shard.find(keys[left])
            taken, whole = shard.take(rows[here])
            if not whole.all() and shard.path not in self._told:
                self._told.add(shard.path)
                print(
                    f"warning: the teacher store's {shard.path} is damaged; what is wrong in it counts as missing "
                    "(`python -m lightning_embed cache` computes it again)",
                    file=sys.stderr,
                    flush=True,
                )
            places = left[here][whole]
            vectors[places], found[places] = taken[whole], True
        return vectors, found

    def add(self, keys: NDArray[np.bytes_], vectors: NDArray[np.float16], about: str = "") -> Shard | None:
        """Writes a shard, which `find` sees after `refresh`; None if another process has merged it with others already.

        Args:
            keys: (n,) distinct content keys.
            vectors: (n, E).
            about: What a person calls this teacher, for identity.json.

        Raises:
            UserError: If it cannot be written.
        """
        try:
            self._write_identity(about)
            path = write_shard(self.path, keys, vectors)
        except OSError as error:
            raise UserError(
                f"{self.path}: a shard could not be written ({error.strerror or error}); those before it are kept"
            ) from None
        try:
            return Shard(path)
        except FileNotFoundError:
            return None

    def _write_identity(self, about: str) -> None:
        file = self.path / "identity.json"
        if not file.is_file():
            write_whole(file, json.dumps({"teacher": about, **self.identity, "format": FORMAT}, indent=1) + "\n")

    def set_aside(self, name: str) -> Path:
        """Takes a shard out of the store, and returns where it is now.

        Args:
            name: Its folder's name.
        """
        target = self.path / f"damaged-{name.removeprefix('shard-')}"
        os.replace(self.path / name, target)
        return target

    def tidy(self, shards: Sequence[Shard] | None = None) -> None:
        """Merges small shards into larger ones.

        Args:
            shards: Which; None: all that are there now, and what killed processes left is deleted.
        """
        if shards is None:
            if self.path.is_dir():
                delete_stale(self.path)
            self.refresh()
            shards = self.shards
        group: list[Shard] = []
        for shard in [*(s for s in shards if s.size < SMALL_SHARD), None]:
            if len(group) > 1 and (shard is None or sum(s.size for s in group) >= SMALL_SHARD):
                with suppress(OSError):  # a full disk: many small shards do as well
                    merge_shards(self.path, group)
                group = []
            if shard is not None:
                group.append(shard)


def bad_shards(path: Path) -> dict[str, str]:
    """Reads every byte of a teacher's shards; name -> what is wrong, for each bad one.

    Args:
        path: The teacher's folder.
    """
    found = {name: problem(path / name) for name in shard_names(path)}
    return {name: reason for name, reason in found.items() if reason}


def stored_teachers(folder: Path) -> dict[Path, dict[str, Any]]:
    """Path -> identity of each teacher in a folder.

    Args:
        folder: Folder of all teachers; it need not exist.
    """
    found = {}
    for file in sorted(folder.glob("*/identity.json")):
        try:
            found[file.parent] = json.loads(file.read_text(encoding="utf-8"))
        except ValueError:
            found[file.parent] = {}
    return found
