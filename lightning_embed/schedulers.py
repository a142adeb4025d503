"""The learning-rate schedule: linear warm-up, then constant, linear or cosine decay."""

import math
import warnings
from typing import Any, Literal

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from lightning_embed.utils.numbers import check_number


class WarmupSchedule(LRScheduler):
    """Raises the learning rate from 0 over `warmup_steps`, then lets it fall until `total_steps`.

    Args:
        optimizer: Whose learning rate.
        warmup_steps: Steps until the full rate.
        decay: How it falls afterwards: `constant` (not at all), `linear` or `cosine`.
        total_steps: Where it has fallen to `final`; None: at the last step of trainer.max_steps or max_epochs, whichever comes first.
        final: Share of the full rate that is left at the end, 0 to 1.
        last_epoch: Step that it is at; -1 at the start.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        warmup_steps: int = 500,
        decay: Literal["constant", "linear", "cosine"] = "linear",
        total_steps: int | None = None,
        final: float = 0.0,
        last_epoch: int = -1,
    ) -> None:
        check_number("lr_scheduler: warmup_steps", warmup_steps, least=0, whole=True)
        check_number("lr_scheduler: total_steps", total_steps, least=1, whole=True, optional=True)
        check_number("lr_scheduler: final", final, least=0, most=1)
        check_number("lr_scheduler: last_epoch", last_epoch, least=-1, whole=True)
        self.warmup_steps, self.decay, self.total_steps, self.final = warmup_steps, decay, total_steps, final
        super().__init__(optimizer, last_epoch)

    def factor(self, step: int) -> float:
        """Share of the full learning rate at a step.

        Args:
            step: Steps done.
        """
        if step < self.warmup_steps:
            return (step + 1) / (self.warmup_steps + 1)
        if self.decay == "constant" or self.total_steps is None:
            return 1.0
        done = min(1.0, (step - self.warmup_steps) / max(1, self.total_steps - self.warmup_steps))
        left = 1 - done if self.decay == "linear" else (1 + math.cos(math.pi * done)) / 2
        return self.final + (1 - self.final) * left

    def state_dict(self) -> dict[str, Any]:
        """The steps done, and no setting: a resumed run follows its own."""
        return {"last_epoch": self.last_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes up the steps done, of the states of earlier versions too, which held all settings."""
        self.move_to(state_dict["last_epoch"])

    def move_to(self, step: int) -> None:
        """Sets the learning rate to that after a number of steps.

        Args:
            step: Steps done.
        """
        self.last_epoch = step - 1
        with warnings.catch_warnings(action="ignore"):  # no step of the optimizer was done in this process
            self.step()

    def get_lr(self) -> list[Any]:
        """The learning rate of each parameter group."""
        return [base * self.factor(self.last_epoch) for base in self.base_lrs]
