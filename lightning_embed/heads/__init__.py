"""Heads on a backbone: the poolings, layers around them, and the projection ψ between the student's space and the teacher's."""

if __name__ != "lightning_embed.heads":
    raise ImportError(f"import lightning_embed.heads instead of {__name__}: the folder at the top is a link to it")

from lightning_embed.heads.pooling import Pooling, normalize, pool, pool_packed
from lightning_embed.heads.projection import Projection

__all__ = ["Pooling", "Projection", "normalize", "pool", "pool_packed"]
