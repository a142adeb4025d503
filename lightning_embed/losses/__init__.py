"""The losses: callbacks that turn a batch of vectors into one scalar each.

Every one is a thin class over a pure function of tensors in its file, and can be called on plain tensors in a notebook.
"""

if __name__ != "lightning_embed.losses":
    raise ImportError(f"import lightning_embed.losses instead of {__name__}: the folder at the top is a link to it")

from lightning_embed.losses.angle import AnglE, angle_similarity
from lightning_embed.losses.base import EmbeddingLoss, LossTerm, weight_at
from lightning_embed.losses.binary import BinaryRobust, sign_similarity_error
from lightning_embed.losses.cosent import CoSENT, cosent
from lightning_embed.losses.distillation import Distillation, distillation
from lightning_embed.losses.gor import GOR, global_orthogonal
from lightning_embed.losses.infonce import InfoNCE, info_nce
from lightning_embed.losses.kl import KLDistillation, kl_distillation
from lightning_embed.losses.margin_mse import MarginMSE, margin_mse
from lightning_embed.losses.matryoshka import Matryoshka
from lightning_embed.losses.quantized import Quantized, binary_vectors, int8_vectors
from lightning_embed.losses.relational import RelationalDistillation, relational
from lightning_embed.losses.score import ScoreDistillation, score_distillation
from lightning_embed.losses.uniformity import Uniformity, uniformity

__all__ = [
    "GOR",
    "AnglE",
    "BinaryRobust",
    "CoSENT",
    "Distillation",
    "EmbeddingLoss",
    "InfoNCE",
    "KLDistillation",
    "LossTerm",
    "MarginMSE",
    "Matryoshka",
    "Quantized",
    "RelationalDistillation",
    "ScoreDistillation",
    "Uniformity",
    "angle_similarity",
    "binary_vectors",
    "cosent",
    "distillation",
    "global_orthogonal",
    "info_nce",
    "int8_vectors",
    "kl_distillation",
    "margin_mse",
    "relational",
    "score_distillation",
    "sign_similarity_error",
    "uniformity",
    "weight_at",
]
