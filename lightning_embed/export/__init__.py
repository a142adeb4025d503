"""Export: a trained encoder as a folder that other programs read, proved to give the same vectors."""

from lightning_embed.export.folder import export_encoder
from lightning_embed.export.push import push_folder
from lightning_embed.export.quantize import quantize
from lightning_embed.export.run import export_model

__all__ = ["export_encoder", "export_model", "push_folder", "quantize"]
