"""What ends a run before its time: callbacks that a job names."""

import multiprocessing
import os
import signal
from typing import Any

import lightning.pytorch as L
import torch


class SignalAt(L.Callback):
    """Sends this process a signal when a step is done, or a validation begins after it."""

    def __init__(self, step: int, name: str = "SIGTERM", rank: int = 0, in_validation: bool = False) -> None:
        self.step, self.signal, self.rank, self.in_validation = step, signal.Signals[name], rank, in_validation

    def on_train_batch_end(self, trainer: Any, *rest: Any) -> None:
        if not self.in_validation:
            self._send(trainer)

    def on_validation_start(self, trainer: Any, *rest: Any) -> None:
        if self.in_validation:
            self._send(trainer)

    def _send(self, trainer: Any) -> None:
        if trainer.global_step == self.step and trainer.global_rank == self.rank:
            os.kill(os.getpid(), self.signal)


class KillWorkers(L.Callback):
    """Kills the data loaders' processes when a step is done, as a machine that runs out of memory does."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: Any, *rest: Any) -> None:
        if trainer.global_step == self.step:
            for process in multiprocessing.active_children():
                os.kill(process.pid or 0, signal.SIGKILL)


class SmallFiles(L.Callback):
    """From a step on no file may be larger than 60 kB, which stands in for a disk that is full."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: Any, *rest: Any) -> None:
        import resource

        if trainer.global_step == self.step:
            resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


class FailAt(L.Callback):
    """Raises an error of a user's own code, before or after the optimizer's step."""

    def __init__(self, step: int, where: str = "forward") -> None:
        self.step, self.where = step, where

    def _fail(self, trainer: Any, where: str) -> None:
        if trainer.global_step == self.step and self.where == where:
            raise ZeroDivisionError("of our making")

    def on_before_backward(self, trainer: Any, *rest: Any) -> None:
        self._fail(trainer, "forward")

    def on_train_batch_end(self, trainer: Any, *rest: Any) -> None:
        self._fail(trainer, "end")


class SignalInTest(L.Callback):
    """SIGTERM while the test pairs are scored."""

    def on_test_start(self, *rest: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)


class Explode(torch.optim.lr_scheduler.LambdaLR):
    """A learning rate that ruins the weights in the eighth step."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        super().__init__(optimizer, lambda step: 1e30 if step == 7 else 1.0)


class FailingAdamW(torch.optim.AdamW):
    """Fails in its sixth step, when some weights are updated."""

    steps = 0

    def step(self, closure: Any = None) -> Any:
        loss = super().step(closure)
        self.steps += 1
        if self.steps == 6:
            raise ZeroDivisionError("of our making")
        return loss
