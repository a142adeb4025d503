"""The losses: callbacks that turn a batch of vectors into one scalar each.

Every one is a thin class over a pure function of tensors in its file, and can be called on plain tensors in a notebook.
"""

if __name__ != "lightning_embed.losses":
    raise ImportError(f"import lightning_embed.losses instead of {__name__}: the folder at the top is a link to it")

from lightning_embed.losses.base import EmbeddingLoss, LossTerm
from lightning_embed.losses.distillation import Distillation, distillation
from lightning_embed.losses.gor import GOR, global_orthogonal
from lightning_embed.losses.infonce import InfoNCE, info_nce

__all__ = [
    "GOR",
    "Distillation",
    "EmbeddingLoss",
    "InfoNCE",
    "LossTerm",
    "distillation",
    "global_orthogonal",
    "info_nce",
]
