"""The end of a run: the average of its last weights and of those at an earlier step."""

from pathlib import Path

import lightning.pytorch as L

from lightning_embed.callbacks.last_checkpoint import checkpoints_folder
from lightning_embed.checkpoints.averaging import average_with
from lightning_embed.checkpoints.settings import read_without_weights
from lightning_embed.checkpoints.student import read_checkpoint
from lightning_embed.errors import UserError
from lightning_embed.utils.notes import note
from lightning_embed.utils.numbers import check_number


class AverageCheckpoints(L.Callback):
    """Ends a fit with the average of the last and an earlier checkpoint, which the report then scores and exports.

    Into the checkpoints' folder: `earlier.ckpt` (weights alone) at the earlier step, and `averaged.ckpt` at the end. `last.ckpt` keeps
    the last weights, to resume from. A killed run resumes from what it has written: nothing is kept in memory.

    Args:
        earlier: The earlier step, at least 1, or a share of trainer.max_steps between 0 and 1; None: nothing is averaged.
    """

    def __init__(self, earlier: float | None = None) -> None:
        check_number("average.earlier", earlier, above=0, optional=True)
        if earlier is not None and not (0 < earlier < 1 or (earlier >= 1 and earlier == int(earlier))):
            raise UserError(
                f"average.earlier: expected a share of max_steps between 0 and 1, or a step from 1, got {earlier}"
            )
        self.earlier = earlier
        self.saved = ""
        """The averaged checkpoint, once it is there."""
        self.steps = (0, 0)
        """The two steps that it is of."""
        self._stepped = 0

    def step(self, trainer: L.Trainer) -> int:
        """The earlier step.

        Args:
            trainer: Whose max_steps it is a share of.

        Raises:
            UserError: It is not within the run.
        """
        assert self.earlier is not None
        if self.earlier < 1 and trainer.max_steps < 1:
            raise UserError(
                f"average.earlier {self.earlier}: a share is of trainer.max_steps, which is not set; give a step"
            )
        step = int(self.earlier) if self.earlier >= 1 else max(1, round(self.earlier * trainer.max_steps))
        if 0 < trainer.max_steps <= step:
            raise UserError(
                f"average.earlier {self.earlier}: that is step {step}, which must come before trainer.max_steps "
                f"{trainer.max_steps}"
            )
        return step

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Checks that a run resumed after the earlier step has its weights."""
        self._stepped, self.saved = trainer.global_step, ""
        if self._off(trainer):
            return
        step, done, file = self.step(trainer), trainer.global_step, self._folder(trainer) / "earlier.ckpt"
        if done == step:
            self._save(trainer, "earlier.ckpt")
        elif done > step and (found := read_without_weights(file)["global_step"] if file.exists() else None) != step:
            there = f", which has those of step {found}" if found is not None else ""
            raise UserError(
                f"average.earlier: the run resumes at step {done}, and the weights of step {step} were expected in {file}{there}; "
                f"give a later step,{f' or {found},' if found is not None else ''} or set average.earlier to null"
            )

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *rest: object) -> None:
        """Saves the weights of the earlier step, when the optimizer has made it."""
        made, self._stepped = (
            trainer.global_step != self._stepped,
            trainer.global_step,
        )  # several batches may make a step
        if made and not self._off(trainer) and trainer.global_step == self.step(trainer):
            self._save(trainer, "earlier.ckpt")

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Puts the average into the module and saves it."""
        file = self._folder(trainer) / "earlier.ckpt"
        if self._off(trainer) or trainer.interrupted:
            return
        if trainer.global_step <= self.step(trainer) or not file.exists():
            note(f"average: the run ended at step {trainer.global_step}, so nothing earlier is there to average with")
            return
        found = read_checkpoint(file)
        average_with(pl_module, found["state_dict"], file)
        self._save(trainer, "averaged.ckpt")
        self.saved = str(self._folder(trainer) / "averaged.ckpt")
        self.steps = (int(found["global_step"]), trainer.global_step)

    def _off(self, trainer: L.Trainer) -> bool:
        return self.earlier is None or bool(trainer.fast_dev_run)  # type: ignore[attr-defined]

    @staticmethod
    def _folder(trainer: L.Trainer) -> Path:
        """Where checkpoints are written."""
        return Path(checkpoints_folder(trainer))

    def _save(self, trainer: L.Trainer, name: str) -> None:
        trainer.save_checkpoint(self._folder(trainer) / name, weights_only=True)
