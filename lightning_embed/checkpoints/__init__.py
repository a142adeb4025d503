"""Checkpoints: how they are written and checked, the student in them, adapters, and averages."""

from typing import TYPE_CHECKING

from lightning_embed.checkpoints.averaging import average_checkpoints
from lightning_embed.utils.lazy import lazy

if TYPE_CHECKING:
    from lightning_embed.checkpoints.io import CheckpointFiles
else:
    __getattr__ = lazy(__name__, {"io": ["CheckpointFiles"]})  # it loads lightning, which the commands need not

__all__ = ["CheckpointFiles", "average_checkpoints"]
