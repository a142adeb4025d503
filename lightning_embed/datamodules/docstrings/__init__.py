"""Pairs out of the docstrings of the Python packages that are installed: a corpus that every machine has."""

from lightning_embed.datamodules.docstrings.corpus import SPLITS, build

__all__ = ["SPLITS", "build"]
