"""What tells one model's weights from another's: a hash of their files, read once and remembered."""

import hashlib
import json
import os
import sys
from hashlib import blake2b
from pathlib import Path

from lightning_embed.folders import user_cache

_TOLD_BYTES = 2 << 30
_NO_CONTENT = ("_name_or_path", "transformers_version")


def weights_hash(folder: Path) -> str:
    """32 hexadecimal digits: BLAKE2b over the content of all `*.safetensors` in a folder, in the order of their names.

    The hash of a file is remembered in the user's cache folder under its path, size and time of change, and read again when one of
    them is another.

    Args:
        folder: A model folder.
    """
    memory = user_cache() / "weights.json"
    try:
        known = json.loads(memory.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        known = {}
    whole, read = blake2b(digest_size=16), {}
    for file in sorted(folder.glob("*.safetensors")):
        about = file.stat()
        key = f"{file.resolve()} {about.st_size} {about.st_mtime_ns}"
        if key not in known:
            if about.st_size > _TOLD_BYTES:
                print(f"reading {file} once, for the hash by which its vectors are stored ...", file=sys.stderr)
            with file.open("rb") as content:
                read[key] = hashlib.file_digest(content, lambda: blake2b(digest_size=16)).hexdigest()
        whole.update((known | read)[key].encode())
    if read:
        there = {key: digest for key, digest in known.items() if Path(key.rsplit(" ", 2)[0]).exists()}
        _remember(memory, there | read)
    return whole.hexdigest()


def _remember(memory: Path, known: dict[str, str]) -> None:
    """Writes under a temporary name first; where nothing can be written, the files are read again next time."""
    partial = memory.with_name(f".weights-{os.getpid()}.json")
    try:
        memory.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(known, indent=1), encoding="utf-8")
        os.replace(partial, memory)
    except OSError:
        partial.unlink(missing_ok=True)


def config_hash(folder: Path) -> str:
    """32 hexadecimal digits of a folder's config.json, but for what says nothing of the model.

    Args:
        folder: A model folder.
    """
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    said = {key: value for key, value in config.items() if key not in _NO_CONTENT}
    return blake2b(json.dumps(said, sort_keys=True).encode(), digest_size=16).hexdigest()
