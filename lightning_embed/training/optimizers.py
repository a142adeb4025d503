"""What `configure_optimizers` returns for an optimizer and its schedule, and when a ReduceLROnPlateau looks at its score."""

import sys
from typing import Any

import lightning.pytorch as L
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from lightning_embed.errors import UserError
from lightning_embed.schedulers import WarmupSchedule
from lightning_embed.training.length import run_steps


def set_end(scheduler: Any, trainer: L.Trainer) -> None:
    """Lets a WarmupSchedule without `total_steps` end at the run's last step.

    Args:
        scheduler: Any schedule; others are left as they are.
        trainer: Of the run.

    Raises:
        UserError: It decays, and the run's last step is not known.
    """
    if not isinstance(scheduler, WarmupSchedule) or scheduler.total_steps is not None:
        return
    scheduler.total_steps = run_steps(trainer)
    if scheduler.total_steps is None and scheduler.decay != "constant":
        raise UserError(
            f"lr_scheduler: decay {scheduler.decay} needs to know the last step, and there is neither trainer.max_steps nor "
            "trainer.max_epochs: give one of them (trainer.max_time may end the run before), or lr_scheduler.total_steps, or "
            "decay: constant"
        )


def optimizer_settings(optimizer: Optimizer, scheduler: Any) -> OptimizerLRScheduler:
    """What Lightning takes from `configure_optimizers`: a schedule advances each step, a ReduceLROnPlateau after each validation.

    Lightning would call a ReduceLROnPlateau at fixed batches, whether or not there is a new score. Here it never does, and
    `step_after_validation` does.

    Args:
        optimizer: Over all parameters that train.
        scheduler: Its schedule, or None.

    Raises:
        UserError: It is a ReduceLROnPlateau without a monitor.
    """
    if scheduler is None:
        return optimizer
    if not isinstance(scheduler, ReduceLROnPlateau):
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
    monitor = getattr(scheduler, "monitor", None)
    if monitor is None:
        raise UserError(
            "lr_scheduler: ReduceLROnPlateau needs the score to watch: {class_path: lightning.pytorch.cli.ReduceLROnPlateau, init_args: "
            "{monitor: val/score, mode: max}}"
        )
    return {
        "optimizer": optimizer,
        "lr_scheduler": {"scheduler": scheduler, "interval": "step", "frequency": sys.maxsize, "monitor": monitor},
    }


def step_after_validation(trainer: L.Trainer) -> None:
    """Shows each ReduceLROnPlateau the score that it watches.

    Args:
        trainer: After a validation during fit, when its scores have been logged.

    Raises:
        UserError: There is no such score.
    """
    if trainer.sanity_checking:
        return
    for config in trainer.lr_scheduler_configs:
        if not config.reduce_on_plateau:
            continue
        score = trainer.callback_metrics.get(str(config.monitor))
        if score is None:
            raise UserError(
                f"lr_scheduler.monitor {config.monitor}: there is no such score; logged are {', '.join(trainer.callback_metrics)}"
            )
        config.scheduler.step(score)  # type: ignore[arg-type]  # a ReduceLROnPlateau takes a score
