"""Ctrl-C ends a run after the step that it is in, with a checkpoint to go on from."""

import signal
import threading
from typing import Any

import lightning.pytorch as L

from lightning_embed.callbacks.last_checkpoint import LAST, checkpoints_folder


class SaveOnInterrupt(L.Callback):
    """The first Ctrl-C finishes the step, saves the last checkpoint and stops; a second one stops at once."""

    def __init__(self) -> None:
        self.asked = False
        self._before: Any = None

    def _ask(self, number: int, frame: Any) -> None:
        self.asked = True
        signal.signal(signal.SIGINT, self._before)
        print("\ninterrupted: finishing this step and saving a checkpoint (Ctrl-C again stops at once)", flush=True)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Takes Ctrl-C over."""
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._ask)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Gives Ctrl-C back."""
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Saves and stops, on all ranks together, once somebody asked: here the batch before has been counted."""
        asked = self.asked
        if trainer.world_size > 1:
            asked = trainer.strategy.reduce_boolean_decision(asked, all=False)
        if asked and batch_idx % trainer.accumulate_grad_batches == 0:  # gathered gradients are not saved
            path = f"{checkpoints_folder(trainer)}/{LAST}"
            trainer.save_checkpoint(path)
            if trainer.is_global_zero:
                print(f"saved {path}; go on with the same command and --ckpt_path last", flush=True)
            raise KeyboardInterrupt
