"""Validations that Lightning leaves out: after the last step of a run, and that which a stop cut short."""

from typing import Any

import lightning.pytorch as L

from lightning_embed.compat.lightning import validate_now


class FinalValidation(L.Callback):
    """Validates at the end of a run whose last step was not validated, so that every run has scores and a best checkpoint.

    A run that ends within its first epoch, or between two validations, would go without. A validation that was cut short by a stop is done
    as the run resumes.
    """

    def __init__(self) -> None:
        self._open = False
        self._validated = -1

    def state_dict(self) -> dict[str, Any]:
        """Whether a validation has begun and not ended."""
        return {"open": self._open}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes over whether one was cut short."""
        self._open = state_dict["open"]

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Forgets an earlier run of the same object."""
        self._open, self._validated = False, -1

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Does what was cut short."""
        if self._open:
            validate_now(trainer, ends_epoch=True)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """One has begun."""
        self._open = not trainer.sanity_checking

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """It has ended."""
        if not trainer.sanity_checking:
            self._open, self._validated = False, trainer.global_step

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Validates in the last epoch, before EarlyStopping and ModelCheckpoint look for the score."""
        if self._is_over(trainer) and self._validated != trainer.global_step:
            validate_now(trainer, ends_epoch=False)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Validates where the run was ended by what happened after that."""
        if self._validated != trainer.global_step:
            validate_now(trainer, ends_epoch=True)

    @staticmethod
    def _is_over(trainer: L.Trainer) -> bool:
        steps = 0 < trainer.max_steps <= trainer.global_step
        epochs = 0 < (trainer.max_epochs or -1) <= trainer.current_epoch + 1
        return steps or epochs or trainer.should_stop
