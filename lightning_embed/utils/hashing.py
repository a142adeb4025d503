"""What tells one model, or one file of data, from another: a hash of contents; that of weights is read once and remembered."""

import hashlib
import json
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

from lightning_embed.utils.atomic import write_whole
from lightning_embed.utils.folders import user_cache

_TOLD_BYTES = 2 << 30
_MODEL = {".json", ".safetensors", ".txt", ".model", ".jinja"}
"""Suffixes of the files of a model's folder that can change its vectors."""
_NO_CONTENT = ("_name_or_path", "transformers_version")


def weights_hash(folder: Path) -> str:
    """32 hexadecimal digits: BLAKE2b over the content of all `*.safetensors` in a folder, in the order of their names.

    Args:
        folder: A model folder.
    """
    whole = blake2b(digest_size=16)
    for digest in file_hashes(sorted(folder.glob("*.safetensors"))):
        whole.update(digest.encode())
    return whole.hexdigest()


def contents_hash(paths: Iterable[Path]) -> str:
    """24 hexadecimal digits of what files and folders hold, whatever they are called.

    Args:
        paths: Files, taken whole, and folders, of which model files count.
    """
    whole = blake2b(digest_size=12)
    for path in paths:
        files = [path] if path.is_file() else sorted(f for f in path.rglob("*") if f.suffix in _MODEL and f.is_file())
        for file, digest in zip(files, file_hashes(files), strict=True):
            name = file.name if path.is_file() else str(file.relative_to(path))
            whole.update(f"{name}\0{digest}".encode())
    return whole.hexdigest()


def file_hashes(files: Sequence[Path]) -> list[str]:
    """32 hexadecimal digits for each file, of its content.

    The hash of a `.safetensors` file is remembered in the user's cache folder under its path, size and time of change, and read again when
    one of them is another.

    Args:
        files: Read whole, unless their hash is remembered.
    """
    memory = user_cache() / "weights.json"
    try:
        known = json.loads(memory.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        known = {}
    found, read = [], {}
    for file in files:
        about = file.stat()
        key = f"{file.resolve()} {about.st_size} {about.st_mtime_ns}"
        digest = known.get(key)
        if digest is None:
            if about.st_size > _TOLD_BYTES:
                print(f"reading {file} once, for the hash by which its vectors are stored ...", file=sys.stderr)
            with file.open("rb") as content:
                digest = hashlib.file_digest(content, lambda: blake2b(digest_size=16)).hexdigest()
            if file.suffix == ".safetensors":
                read[key] = digest
        found.append(digest)
    if read:
        there = {key: digest for key, digest in known.items() if Path(key.rsplit(" ", 2)[0]).exists()}
        with suppress(OSError):  # where nothing can be written, the files are read again next time
            write_whole(memory, json.dumps(there | read, indent=1))
    return found


def config_hash(folder: Path) -> str:
    """32 hexadecimal digits of a folder's config.json, but for what says nothing of the model.

    Args:
        folder: A model folder.
    """
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    kept = {key: value for key, value in config.items() if key not in _NO_CONTENT}
    return blake2b(json.dumps(kept, sort_keys=True).encode(), digest_size=16).hexdigest()
