"""How checkpoints of whole weights reach the disk: whole or not at all; files and sharded folders are read."""

from pathlib import Path
from typing import Any

from lightning.pytorch.plugins.io import TorchCheckpointIO

from lightning_embed.distributed.sharded_checkpoint import is_sharded_checkpoint, read
from lightning_embed.utils.atomic import save_whole


class CheckpointFiles(TorchCheckpointIO):
    """Checkpoints for the strategies that keep whole weights: reads files, without unpickling code, and sharded folders."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Writes a file whole or not at all, where a sharded checkpoint may have been; s3:// and the like are Lightning's to write."""
        if "://" in str(path):
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        save_whole(checkpoint, Path(path))

    def load_checkpoint(
        self, path: str | Path, map_location: Any = "cpu", weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Reads a file or a folder."""
        if is_sharded_checkpoint(Path(path)):
            return read(Path(path))
        return super().load_checkpoint(path, map_location, weights_only=True)
