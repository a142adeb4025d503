"""Whether a checkpoint is whole: one that was cut short is refused by name, and the newest whole one beside it is offered."""

from pathlib import Path
from typing import Any

import torch

from lightning_embed.errors import UserError, first_line


def flaw(path: Path) -> str | None:
    """What is wrong with a checkpoint, in a few words; None where it is whole.

    A file's table of contents is at its end, so a file that is cut short has none. A folder's tells where in which shard each tensor is.

    Args:
        path: A file, or the folder of a sharded checkpoint.
    """
    if path.is_dir():
        return _flaw_of_folder(path)
    try:
        found: Any = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # zip, pickle and runtime errors, all for a file that is something else
        return f"it cannot be read: {first_line(error, 120)}"
    return None if isinstance(found, dict) and "state_dict" in found else "it has no state_dict"


def _flaw_of_folder(folder: Path) -> str | None:
    from lightning_embed.compat.torch import TABLE, ends_of_shards
    from lightning_embed.distributed.sharded_checkpoint import META

    for name in (TABLE, META):
        if not (folder / name).is_file():
            return f"{name} is missing"
    try:
        torch.load(folder / META, map_location="cpu", weights_only=True)
        ends = ends_of_shards(folder)
    except Exception as error:
        return f"it cannot be read: {first_line(error, 120)}"
    for name, end in sorted(ends.items()):
        shard = folder / name
        if not shard.is_file():
            return f"its shard {name} is missing"
        if shard.stat().st_size < end:
            return f"its shard {name} has {shard.stat().st_size:,} bytes of {end:,}"
    return None


def newest_whole(folder: Path, but: Path) -> Path | None:
    """The newest whole checkpoint of a folder.

    Args:
        folder: Where to look.
        but: One that does not count.
    """
    others = [path for path in folder.glob("*.ckpt") if path.name != but.name and not path.name.startswith(".")]
    others += folder.glob(f".{but.name}.old")  # a folder that was about to be replaced
    by_age = sorted(others, key=lambda path: path.stat().st_mtime, reverse=True)
    return next((path for path in by_age if flaw(path) is None), None)


def require_whole(path: Path) -> None:
    """Raises `UserError` for a checkpoint that is not there or not whole, and names the newest whole one beside it.

    Args:
        path: A file, or the folder of a sharded checkpoint.
    """
    there = path.exists()
    reason = flaw(path) if there else None
    if there and reason is None:
        return
    other = newest_whole(path.parent, path)
    instead = f"; take {other}, the newest whole one in its folder" if other else ""
    if not there:
        raise UserError(f"{path}: no such checkpoint{instead}")
    raise UserError(
        f"{path}: not a checkpoint that can be read, it may have been cut short ({reason})"
        f"{instead or '; its folder holds no whole one'}"
    )


def require_training_state(path: Path) -> None:
    """Raises `UserError` for a checkpoint of weights alone, from which training cannot resume.

    Args:
        path: A whole checkpoint.
    """
    from lightning_embed.distributed.sharded_checkpoint import META

    found = torch.load(path / META if path.is_dir() else path, map_location="cpu", weights_only=True, mmap=True)
    if "optimizer_states" not in found:
        raise UserError(
            f"{path}: holds weights alone, with which test, predict, export and evaluate work; a fit resumes from last.ckpt"
        )
