"""How quick training is: rows and tokens a second, in the progress bar and the logs."""

import time
from typing import Any

import lightning.pytorch as L

from lightning_embed.batch import TokenBatch


class Throughput(L.Callback):
    """Logs `rows/s` and `tokens/s` of all ranks, over the steps since the last log.

    Args:
        every: Steps between two readings.
    """

    def __init__(self, every: int = 10) -> None:
        self.every = every
        self._begin()

    def _begin(self) -> None:
        self.rows = self.tokens = self.steps = 0
        self.since = time.perf_counter()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Starts the clock."""
        self._begin()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Leaves validation's time out."""
        self._begin()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Counts a batch, and logs every so many."""
        if not isinstance(batch, TokenBatch):
            return
        self.rows, self.tokens, self.steps = self.rows + len(batch), self.tokens + batch.token_count, self.steps + 1
        if self.steps >= self.every:
            seconds = max(1e-9, time.perf_counter() - self.since)
            rates = {"rows/s": self.rows / seconds, "tokens/s": self.tokens / seconds}
            all_ranks = {name: rate * trainer.world_size for name, rate in rates.items()}
            pl_module.log_dict(all_ranks, prog_bar=True, batch_size=len(batch), sync_dist=trainer.world_size > 1)
            self._begin()
