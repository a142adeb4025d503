"""How weights train: sharded or not, in which groups, from which start, and how far a run is."""

from lightning_embed.training.fsdp2 import FSDP2
from lightning_embed.training.precision import auto_precision

__all__ = ["FSDP2", "auto_precision"]
