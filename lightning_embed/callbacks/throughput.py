"""How quick training is, and what memory it takes: in the progress bar and the logs."""

import resource
import sys
import time
from typing import Any

import lightning.pytorch as L
import torch

from lightning_embed.batch import TokenBatch
from lightning_embed.distributed.collectives import max_over_ranks
from lightning_embed.utils.notes import note
from lightning_embed.utils.numbers import check_number


def peak_bytes(device: torch.device) -> int:
    """The most memory that this process has had so far: of the GPU what torch allocated, else all that is resident.

    Args:
        device: Where it trains.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


class Throughput(L.Callback):
    """Logs `rows/s` and `tokens/s` of all ranks, over the steps since the last log, and `memory/peak_gb` after the first step.

    That is of the rank that needs most; on a CPU it has Python and its libraries in it. `doctor` estimates it before a run.

    Args:
        every: Steps between two readings.
    """

    def __init__(self, every: int = 10) -> None:
        check_number("every", every, least=1, whole=True)
        self.every = every
        self._measured = False
        self._begin()

    _first = 1

    def _begin(self) -> None:
        self.rows = self.tokens = self.steps = 0
        self.since = time.perf_counter()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Notes where the run begins or resumes."""
        self._measured, self._first = False, trainer.global_step + 1
        self._begin()

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Starts the clock at the first batch, when everything else is prepared."""
        if not self._measured and self.steps == 0:
            self._begin()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Leaves validation's time out."""
        self._begin()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Counts a batch, and logs every so many."""
        if not self._measured and trainer.global_step >= self._first:
            self._measured = True
            peak = max_over_ranks(peak_bytes(pl_module.device), pl_module.device) / 1e9
            for logger in trainer.loggers:
                logger.log_metrics({"memory/peak_gb": peak}, step=trainer.global_step - 1)
            note(f"memory up to the end of the first step: at most {peak:.2f} GB a device")
        if not isinstance(batch, TokenBatch):
            return
        self.rows, self.tokens, self.steps = self.rows + len(batch), self.tokens + batch.token_count, self.steps + 1
        if self.steps >= self.every:
            seconds = max(1e-9, time.perf_counter() - self.since)
            rates = {"rows/s": self.rows / seconds, "tokens/s": self.tokens / seconds}
            all_ranks = {name: rate * trainer.world_size for name, rate in rates.items()}
            pl_module.log_dict(all_ranks, prog_bar=True, batch_size=len(batch), sync_dist=trainer.world_size > 1)
            self._begin()
