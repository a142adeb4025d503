"""How checkpoints get to disk and back: whole or not at all."""

import os
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO


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


class WholeCheckpoints(TorchCheckpointIO):
    """Lightning's checkpoint files, written whole or not at all, and read where they are sharded too."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Writes a checkpoint; a path with a protocol, such as s3://, is Lightning's to write."""
        if "://" in str(path):
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        file = Path(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        save_whole(checkpoint, file)
