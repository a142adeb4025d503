"""How weights train: sharded or not, in which groups, from which start, and how far a run is."""

from lightning_embed.training.fsdp2 import FSDP2

__all__ = ["FSDP2"]
