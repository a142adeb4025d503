"""Sources: files and tables of rows, read, checked, filtered and brought into columns."""

from lightning_embed.datamodules.sources.source import Source

__all__ = ["Source"]
