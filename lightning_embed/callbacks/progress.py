"""How far a run is: one line of the terminal, or a line a minute in a log."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from typing import Any

import lightning.pytorch as L
from lightning.pytorch.callbacks import ModelCheckpoint, ProgressBar, Timer

from lightning_embed.evaluation.metrics.by_source import MAINS
from lightning_embed.evaluation.reports.names import score_text
from lightning_embed.training.length import run_steps
from lightning_embed.utils.activity import EVERY, Activity
from lightning_embed.utils.formatting import clock
from lightning_embed.utils.numbers import check_number

LOSS, SCORE = "train/loss", "val/score"
WINDOW = 50
"""Steps that rows/s are the mean of."""


class StepProgress(ProgressBar):
    """Shows the step of all steps, the loss, the last validation score, rows/s and the time left.

    On a terminal that is one line with a bar, which is gone when the run ends. Elsewhere a line is printed at the first step, every minute,
    at each validation and at the last step. Both go to standard error. The loss is the one last logged; rows/s are of all ranks, without
    the time of validations.

    Args:
        every: Seconds between two lines where standard error is no terminal.
    """

    def __init__(self, every: float = EVERY) -> None:
        super().__init__()
        check_number("StepProgress: every", every, above=0)
        self.every, self._enabled = every, True
        self._line = Activity(every)
        self._pace = Pace()
        self._total: int | None = None
        self._shown_at, self._batches = -1, 0
        self._loss: float | None = None

    def disable(self) -> None:
        """Shows nothing from now on."""
        self._enabled = False

    def enable(self) -> None:
        """Shows again how far the run is."""
        self._enabled = True

    def prepare(self, text: str) -> None:
        """Shows what is done before the run is set up, until it is.

        Args:
            text: What, such as `preparing the data`.
        """
        if self._enabled:
            self._line.show(text)

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Ends what was shown of the preparation."""
        super().setup(trainer, pl_module, stage)
        self._line.close()
        self._line = Activity(self.every)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Notes where the run begins or resumes."""
        self._total, self._shown_at, self._loss = run_steps(trainer), -1, None
        self._pace = Pace(trainer.global_step)

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Starts the clock at the first batch, when everything else is prepared."""
        self._pace.start()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Counts the rows, and shows how far the run is if that is due."""
        rows = len(batch) if hasattr(batch, "__len__") else 0
        self._pace.add(rows * trainer.world_size, trainer.global_step)
        if self._enabled and self._line.due():
            self._show(trainer, _loss_of(outputs, trainer))

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stops the clock of the training, and shows that it is validated."""
        self._pace.pause()
        self._batches = 0

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Shows the score, and lets the clock run again."""
        self._pace.resume()
        _ = trainer.callback_metrics  # on every rank, since Lightning may take their mean
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._show(trainer)
        else:
            self._line.close()

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Starts counting batches."""
        self._batches = 0

    def on_test_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Counts a batch, and shows how many are done if that is due."""
        self._evaluated(trainer)

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Removes the line."""
        self._line.close()

    on_predict_start, on_predict_end = on_test_start, on_test_end
    on_validation_batch_end = on_predict_batch_end = on_test_batch_end

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Shows the last step, unless its line is there already, and removes the bar, so that the report can be read."""
        _ = trainer.callback_metrics  # on every rank
        if self._shown_at != trainer.global_step:
            self._show(trainer)
        self._line.close()
        self._total = None

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Removes the line."""
        self._line.close()

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Removes the line."""
        self._line.close()

    def _show(self, trainer: L.Trainer, loss: float | None = None) -> None:
        """Shows how far training is.

        Args:
            trainer: While it fits.
            loss: What to show where none was logged yet.
        """
        self._shown_at = step = trainer.global_step
        if not self._enabled:
            return
        metrics = trainer.callback_metrics
        if LOSS in metrics:
            loss = float(metrics[LOSS])
        self._loss = loss = self._loss if loss is None else loss
        left = self._left(trainer)
        parts = [
            "" if loss is None else f"loss {loss:.4g}",
            score_shown(trainer),
            f"{rate:,.0f} rows/s" if (rate := self._pace.rows_per_second()) else "",
            "" if left is None else f"{clock(left)} left",
        ]
        self._line.show(_of("step", step, self._total), "  ".join(filter(None, parts)), step, self._total)

    def _left(self, trainer: L.Trainer) -> float | None:
        """Seconds to the end of the run, by its steps so far or by trainer.max_time; None: not known."""
        timers = [one.time_remaining() for one in trainer.callbacks if isinstance(one, Timer)]  # type: ignore[attr-defined]
        if trainer.global_step == self._total:
            return None
        ends = [*timers, None if self._total is None else self._pace.seconds_to(self._total)]
        return min((seconds for seconds in ends if seconds is not None), default=None)

    def _evaluated(self, trainer: L.Trainer) -> None:
        """Counts a batch of an evaluation, and shows how many are done if that is due."""
        self._batches += 1
        if not self._enabled or not self._line.due():
            return
        what, batches = "validating", trainer.num_val_batches
        if trainer.testing:
            what, batches = "testing", trainer.num_test_batches
        elif trainer.predicting:
            what, batches = "predicting", trainer.num_predict_batches
        every = sum(batches) if isinstance(batches, Sequence) else batches
        total = None if every == float("inf") else int(every)
        if trainer.state.fn == "fit":
            self._line.show(_of("step", trainer.global_step, self._total), _of(what, self._batches, total))
        else:
            self._line.show(what, _of("batch", self._batches, total), self._batches, total)


class Pace:
    """How fast training is: rows a second over the last steps, and when it will be done.

    Args:
        step: Steps done so far.
    """

    def __init__(self, step: int = 0) -> None:
        self._rows, self._first, self._step = 0, step, step
        self._points: deque[tuple[float, int]] = deque(maxlen=WINDOW)
        """When so many rows were done."""
        self._since: float | None = None
        """When the first step was done, which is no measure of the others."""
        self._paused = 0.0

    def start(self) -> None:
        """Starts the clock, unless it runs already."""
        if not self._points:
            self._points.append((time.monotonic(), 0))

    def pause(self) -> None:
        """A validation begins."""
        self._paused = time.monotonic()

    def resume(self) -> None:
        """It has ended, and its time does not count for the rows a second."""
        away = time.monotonic() - self._paused
        self._points = deque(((at + away, rows) for at, rows in self._points), maxlen=WINDOW)

    def add(self, rows: int, step: int) -> None:
        """A batch is done.

        Args:
            rows: Its number of rows, over all ranks.
            step: Steps done so far.
        """
        now = time.monotonic()
        self._rows, self._step = self._rows + rows, step
        self._points.append((now, self._rows))
        if self._since is None and step > self._first:
            self._since, self._first = now, step

    def rows_per_second(self) -> float | None:
        """Over the last steps; None: nothing was done yet."""
        if len(self._points) < 2:
            return None
        (start, before), (end, after) = self._points[0], self._points[-1]
        return (after - before) / max(1e-9, end - start)

    def seconds_to(self, step: int) -> float | None:
        """Seconds until a step is done, validations included; None: not known yet.

        Args:
            step: The last step.
        """
        if self._since is None or self._step <= self._first:
            return None
        return (step - self._step) * (time.monotonic() - self._since) / (self._step - self._first)


def score_shown(trainer: L.Trainer) -> str:
    """The last validation score: the one by which the best checkpoint is chosen, else the mean of all sources, else any.

    Args:
        trainer: While it fits.
    """
    metrics = trainer.callback_metrics
    best = [one.monitor for one in trainer.checkpoint_callbacks if isinstance(one, ModelCheckpoint) and one.monitor]
    known = [name for name in (*best, SCORE, *metrics) if name in metrics and name.startswith(("val/", "grid/"))]
    tasks = [f"val/{main}" for main in MAINS if f"val/{main}" in metrics]
    if known and known[0] == SCORE and len(tasks) == 1:  # the mean is that of one score, which says more
        known = tasks
    return score_text(known[0], float(metrics[known[0]])) if known else ""


def _of(what: str, done: int, total: int | None) -> str:
    return f"{what} {done:,}" + ("" if total is None else f"/{total:,}")


def _loss_of(outputs: Any, trainer: L.Trainer) -> float | None:
    """The loss of one batch, which Lightning has divided by the batches of a step."""
    if LOSS in trainer.callback_metrics or not isinstance(outputs, dict) or "loss" not in outputs:
        return None
    return float(outputs["loss"]) * trainer.accumulate_grad_batches
