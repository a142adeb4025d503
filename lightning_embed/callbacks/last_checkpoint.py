"""`last.ckpt`: the newest whole step of a run, from which it resumes."""

import signal
import time
from typing import Any

import lightning.pytorch as L
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint

from lightning_embed.callbacks.interrupt import StopSignals, name_of
from lightning_embed.datamodules import EmbeddingDataModule
from lightning_embed.distributed.collectives import max_over_ranks
from lightning_embed.errors import NotFinite, first_line, user_error
from lightning_embed.utils.numbers import check_number
from lightning_embed.utils.signals import Stopped

LAST = "last.ckpt"


class LastCheckpoint(Checkpoint):
    """Writes `last.ckpt`, from which `--ckpt_path last` resumes, whatever the validation scores are.

    It is due after each validation (without validation data: after each epoch), every so many steps and minutes, and at the end. It is
    written before the next step begins: by then the step's validation, learning rate and callbacks are done, and nothing is missing from
    it. Ctrl-C, SIGTERM and SIGHUP finish the step, write it and stop the run with exit code 128 + the signal's number; several ranks
    agree on the step. After an error it is written too, where that needs no other rank. The best checkpoint is the business of Lightning's
    ModelCheckpoint.

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
        check_number("last_checkpoint.every_n_steps", every_n_steps, least=1, whole=True, optional=True)
        check_number("last_checkpoint.every_minutes", every_minutes, above=0, optional=True)
        self.enabled, self.after_validation = enabled, after_validation
        self.every_n_steps, self.every_minutes = every_n_steps, every_minutes
        self.signals = StopSignals()
        self._start(0)

    def _start(self, step: int) -> None:
        self._training, self._written, self._updating = False, "", -1
        self._saved_at(step)

    def _saved_at(self, step: int) -> None:
        self._due = False
        self._stepped = self._saved = step
        self._since = time.monotonic()

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Takes Ctrl-C, SIGTERM and SIGHUP over, from before the first step to after the last."""
        if stage == "fit":
            self._start(0)
            self.signals.take(trainer)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Starts to count."""
        self._start(trainer.global_step)
        self._training = True

    def on_validation_batch_start(self, trainer: L.Trainer, *rest: object) -> None:
        """Stops in the middle of a validation, which may be long; a resumed run does it again."""
        even = trainer.world_size == 1 or isinstance(trainer.datamodule, EmbeddingDataModule)  # type: ignore[attr-defined]
        if self._training and even:  # all ranks have as many batches
            self._stop_if_asked(trainer)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """A checkpoint is due."""
        self._due |= self.after_validation and not trainer.sanity_checking

    def on_before_optimizer_step(self, trainer: L.Trainer, *rest: object) -> None:
        """From here until the step is counted, the weights are of no step."""
        self._updating = trainer.global_step

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
        """Stops if asked to, or writes what is due; not between the batches of a step, since gathered gradients are not saved."""
        if batch_idx % trainer.accumulate_grad_batches:
            return
        if (self._stop_if_asked(trainer) or self._due) and self.enabled:
            self.save(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Writes the last one."""
        if self.enabled and (self._due or trainer.global_step != self._saved):
            self.save(trainer)
        self._stop_if_asked(trainer)
        self._training = False

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Writes the last whole step, if that can be, and adds to the error's message how to resume."""
        step, failed = trainer.global_step, ""
        if self._training and (self._due or step != self._saved) and self._can_save(trainer, exception):
            try:
                self.save(trainer)
            except Exception as error:
                failed = f"step {step} could not be saved ({first_line(error)}); "
        self._training = False
        if self._written:
            line = (
                f"{failed}{self._written} is of step {self._saved}: resume with the same command and --ckpt_path last"
            )
            if not isinstance(exception, Stopped | KeyboardInterrupt):
                exception.add_note(line)
            elif trainer.is_global_zero:
                by = signal.SIGINT if isinstance(exception, KeyboardInterrupt) else exception.number
                print(f"stopped by {name_of(by)}: {line}", flush=True)

    def _can_save(self, trainer: L.Trainer, exception: BaseException) -> bool:
        """Whether the weights are those of a whole step, worth resuming from, and no other rank is needed to save them."""
        at_once = isinstance(exception, KeyboardInterrupt)
        lost = isinstance(
            user_error(exception), NotFinite
        )  # the weights are on their way to infinity: the file is better
        together = trainer.world_size == 1 or isinstance(exception, Stopped)
        return together and not at_once and not lost and self._updating != trainer.global_step

    def _stop_if_asked(self, trainer: L.Trainer) -> bool:
        """Raises `Stopped` on all ranks together if one was asked to stop; returns whether the minutes are over."""
        waited = time.monotonic() - self._since
        late = self.every_minutes is not None and waited >= 60 * self.every_minutes
        asked, up = divmod(max_over_ranks(2 * self.signals.asked + late, trainer.strategy.root_device), 2)
        if asked:
            raise Stopped(asked)
        return bool(up) and trainer.global_step != self._saved

    def save(self, trainer: L.Trainer) -> None:
        """Writes the checkpoint; all ranks call it together.

        Args:
            trainer: Between two steps.
        """
        if not trainer.fast_dev_run:  # type: ignore[attr-defined]
            path = f"{checkpoints_folder(trainer)}/{LAST}"
            trainer.save_checkpoint(path)
            self._written = path
            self._saved_at(trainer.global_step)


def checkpoints_folder(trainer: L.Trainer) -> str:
    """Where a run's checkpoints are: the folder of its ModelCheckpoint.

    Args:
        trainer: The run's, set up.
    """
    folders = [one.dirpath for one in trainer.checkpoint_callbacks if isinstance(one, ModelCheckpoint) and one.dirpath]
    return str(folders[-1]) if folders else f"{trainer.default_root_dir}/checkpoints"
