"""`last.ckpt`: the newest whole step of a run, from which it resumes."""

import time
from typing import Any

import lightning.pytorch as L
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint

from lightning_embed.errors import UserError

LAST = "last.ckpt"


class LastCheckpoint(Checkpoint):
    """Writes `last.ckpt`, from which `--ckpt_path last` resumes, whatever the validation scores are.

    It is due after each validation (without validation data: after each epoch), every so many steps and minutes, and at the end. It is
    written before the next step begins: by then the step's validation, learning rate and callbacks are done, and nothing is missing from
    it. The best checkpoint is the business of Lightning's ModelCheckpoint.

    Args:
        enabled: Whether to write it while the run goes well.
        after_validation: Whether it is due after each validation.
        every_n_steps: Optimizer steps, at least 1, from one to the next; None: steps don't count.
        every_minutes: Minutes, more than 0, after which the next one is due; None: time doesn't count.
    """

    def __init__(
        self,
        enabled: bool = True,
        after_validation: bool = True,
        every_n_steps: int | None = None,
        every_minutes: float | None = 15.0,
    ) -> None:
        if every_n_steps is not None and every_n_steps < 1:
            raise UserError(f"last_checkpoint.every_n_steps: expected at least 1, or null, got {every_n_steps}")
        if every_minutes is not None and not every_minutes > 0:
            raise UserError(f"last_checkpoint.every_minutes: expected more than 0, or null, got {every_minutes}")
        self.enabled, self.after_validation = enabled, after_validation
        self.every_n_steps, self.every_minutes = every_n_steps, every_minutes
        self._begin(0)

    def _begin(self, step: int) -> None:
        self._due = False
        self._stepped = self._saved = step
        self._since = time.monotonic()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Starts to count."""
        self._begin(trainer.global_step)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """A checkpoint is due."""
        self._due |= self.after_validation and not trainer.sanity_checking

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *rest: object) -> None:
        """A checkpoint is due if this batch completed the n-th step."""
        made = trainer.global_step != self._stepped  # several batches may make a step
        self._stepped = trainer.global_step
        self._due |= made and self.every_n_steps is not None and trainer.global_step % self.every_n_steps == 0

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """A checkpoint is due where no validation makes it so."""
        batches = trainer.num_val_batches  # empty until the first validation
        self._due |= not trainer.enable_validation or (bool(batches) and not sum(batches))

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Writes it if it is due; not between the batches of a step, since gathered gradients are not saved."""
        if not self.enabled or batch_idx % trainer.accumulate_grad_batches:
            return
        if self._due or self._time_is_up(trainer):
            self.save(trainer)

    def _time_is_up(self, trainer: L.Trainer) -> bool:
        """Whether the minutes are over, by rank 0's clock."""
        if self.every_minutes is None or trainer.global_step == self._saved:
            return False
        up = time.monotonic() - self._since >= 60 * self.every_minutes
        return bool(trainer.strategy.broadcast(up)) if trainer.world_size > 1 else up

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Writes the last one."""
        if self.enabled and (self._due or trainer.global_step != self._saved):
            self.save(trainer)

    def save(self, trainer: L.Trainer) -> str:
        """Writes the checkpoint and returns its path; all ranks call it together.

        Args:
            trainer: Between two steps.
        """
        path = f"{checkpoints_folder(trainer)}/{LAST}"
        if not trainer.fast_dev_run:  # type: ignore[attr-defined]
            trainer.save_checkpoint(path)
            self._begin(trainer.global_step)
        return path


def checkpoints_folder(trainer: L.Trainer) -> str:
    """Where a run's checkpoints are: the folder of its ModelCheckpoint.

    Args:
        trainer: The run's, set up.
    """
    folders = [one.dirpath for one in trainer.checkpoint_callbacks if isinstance(one, ModelCheckpoint) and one.dirpath]
    return str(folders[-1]) if folders else f"{trainer.default_root_dir}/checkpoints"
