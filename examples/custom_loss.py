"""A loss of your own: python -m lightning_embed fit --model.init_args.losses '{mine: {loss: examples.custom_loss.Uniformity}}'"""

import torch
from torch import Tensor

from lightning_embed.batch import ANCHOR, EmbeddingBatch
from lightning_embed.heads import normalize
from lightning_embed.losses import EmbeddingLoss


def uniformity(vectors: Tensor, sharpness: float) -> Tensor:
    """ln of the mean of exp(−t ‖u − v‖²) over pairs: low where vectors are spread out (Wang & Isola 2020).

    Args:
        vectors: (B, D) of any length.
        sharpness: t > 0.
    """
    distances = torch.pdist(normalize(vectors)).square()
    return distances.mul(-sharpness).exp().mean().log() if len(distances) else vectors.sum() * 0


class Uniformity(EmbeddingLoss):
    """Spreads the documents out; each rank looks at its own rows.

    Args:
        sharpness: t > 0.
    """

    requires = frozenset({ANCHOR})

    def __init__(self, sharpness: float = 2.0) -> None:
        super().__init__()
        self.sharpness = sharpness

    def forward(self, batch: EmbeddingBatch) -> Tensor:
        """The anchors' uniformity."""
        return uniformity(batch.student[ANCHOR], self.sharpness)
