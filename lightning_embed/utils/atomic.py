"""How a checkpoint gets to disk: whole or not at all."""

import os
from pathlib import Path
from typing import Any

import torch


def save_whole(content: dict[str, Any], file: Path) -> None:
    """Writes a file that is there whole or as it was, whatever happens: beside it first, then in its place.

    Lightning writes into the system's folder of temporary files and moves that, which copies it where it is another file system; a
    process killed meanwhile leaves half a file in place of the last checkpoint.

    Args:
        content: What torch.save takes.
        file: Where.

    Raises:
        OSError: The disk is full, or the like; nothing is left behind.
    """
    partial = file.with_name(f".{file.name}.partial")  # one name: what a killed process left is written over
    try:
        with partial.open("wb") as stream:
            _save(content, stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(partial, file)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _save(content: dict[str, Any], stream: Any) -> None:
    """torch.save, of which an error of the disk is the system's and not one of torch's zip writer."""
    try:
        torch.save(content, stream)
    except RuntimeError as error:
        stem = error.__cause__ or error.__context__
        raise (stem if isinstance(stem, OSError) else error) from None
