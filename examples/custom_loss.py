"""A loss of your own, in addition to the default job's losses or in place of them:

python -m lightning_embed fit --model.init_args.losses.mine '{loss: examples.custom_loss.UnitLength}'
python -m lightning_embed fit --model.init_args.losses '{mine: {loss: examples.custom_loss.UnitLength}}'
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_embed import EmbeddingBatch, EmbeddingLoss
from lightning_embed.distributed import global_mean


def unit_length(vectors: Tensor) -> Tensor:
    """(‖x‖ − 1)² of each vector.

    Args:
        vectors: (n, D).
    """
    return (vectors.float().norm(dim=-1) - 1).square()


class UnitLength(EmbeddingLoss):
    """Keeps the vectors' lengths near 1 before they are normalised, so that a dot product works too.

    Args:
        columns: Roles whose vectors are kept near unit length.
    """

    def __init__(self, columns: Sequence[str] = ("anchor", "positive")) -> None:
        super().__init__()
        self.columns = tuple(columns)
        self.requires = frozenset(columns)  # the module encodes these, and refuses a batch that lacks one

    def forward(self, batch: EmbeddingBatch) -> Tensor:
        """Mean over the rows of all ranks: `global_mean` counts them."""
        rows = torch.cat([unit_length(batch.student[role]) for role in self.columns])
        return global_mean(rows.sum(), len(rows))
