"""Caching: what writes the teacher store."""

from lightning_embed.caching.fill import fill_store
from lightning_embed.caching.importing import import_vectors

__all__ = ["fill_store", "import_vectors"]
