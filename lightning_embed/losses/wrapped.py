"""What the losses share that apply another loss to a changed batch."""

from typing import Any

from lightning_embed.batch import EmbeddingBatch
from lightning_embed.losses.base import EmbeddingLoss


class WrappedLoss(EmbeddingLoss):
    """Requires what the wrapped loss does, and passes its callbacks on.

    Args:
        loss: The loss that is wrapped.
    """

    def __init__(self, loss: EmbeddingLoss) -> None:
        super().__init__()
        self.loss = loss
        self.requires, self.uses, self.taught_by = loss.requires, loss.uses, loss.taught_by
        self.pulls_pairs, self.must_differ = loss.pulls_pairs, loss.must_differ

    def on_fit_start(self, module: Any) -> None:
        """Passed on."""
        self.loss.on_fit_start(module)

    def on_step_end(self, module: Any, step: int) -> None:
        """Passed on."""
        self.loss.on_step_end(module, step)

    def check(self, name: str, batch: EmbeddingBatch) -> None:
        """Raises `UserError` if the wrapped loss does."""
        self.loss.check(name, batch)
