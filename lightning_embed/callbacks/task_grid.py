"""The grid of `evaluate` during training: a few tasks at each validation."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import lightning.pytorch as L
import numpy as np
import torch
from lightning.pytorch.loggers import TensorBoardLogger

from lightning_embed.encoders.text_encoder import TextEncoder
from lightning_embed.evaluation.metrics.grid import GridRow
from lightning_embed.evaluation.metrics.quantize import PRECISIONS, Precision
from lightning_embed.evaluation.tasks.grid import MEAN, evaluate_grid, grid_dims
from lightning_embed.utils.numbers import check_number, check_numbers
from lightning_embed.utils.quiet import quiet


class TaskGrid(L.Callback):
    """Scores the student on mteb tasks in every size and precision, at each validation.

    Logs `grid/TASK/DIM/PRECISION` (0 to 1; `mean of tasks` as `mean`), which a ModelCheckpoint can monitor, and the picture to
    TensorBoard. Every rank evaluates, since a sharded student needs them all; training's random state is as it was before.

    Args:
        tasks: As `evaluate` takes them: mteb's names, or `[NAME=][KIND:]PATH[,PATH]`.
        dims: Sizes to truncate to; None: D and its halves, down to 32.
        precisions: Some of `float32`, `int8`, `binary`, `binary_rescore`.
        shots: Training texts a label, in local classification.
        every: Validations from one evaluation to the next.
    """

    def __init__(
        self,
        tasks: list[str],
        dims: list[int] | None = None,
        precisions: Sequence[Precision] = PRECISIONS,
        shots: int = 16,
        every: int = 1,
    ) -> None:
        check_numbers("TaskGrid: dims", dims, least=1, whole=True, optional=True)
        check_number("TaskGrid: shots", shots, least=1, whole=True)
        check_number("TaskGrid: every", every, least=1, whole=True)
        self.tasks, self.dims, self.precisions = tasks, dims, tuple(precisions)
        self.shots, self.every = shots, every
        self.history: list[tuple[int, list[GridRow]]] = []
        """Step and grid of each evaluation of this process."""
        self._validations = 0
        self._read: list[Any] = []

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Reads the tasks, so that a missing file is reported before training starts."""
        if stage == "fit" and not self._read:
            from lightning_embed.evaluation.tasks.local import read_tasks

            with _quiet_and_unseeded():
                self._read = read_tasks(self.tasks, self.shots)

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Evaluates and logs."""
        if trainer.sanity_checking or not self._read:
            return
        self._validations += 1
        if self._validations % self.every:
            return
        from lightning_embed.evaluation.models import from_encoder

        student = pl_module.student
        assert isinstance(student, TextEncoder)
        model = from_encoder(student, "student", str(trainer.global_step))
        with _quiet_and_unseeded():
            rows = evaluate_grid(model, self._read, grid_dims(self.dims, [model])["student"], self.precisions).rows
        self.history.append((trainer.global_step, rows))
        scores = {
            f"grid/{'mean' if task == MEAN else task}/{row.dim}/{row.precision}": value
            for row in rows
            for task, value in row.scores.items()
        }
        pl_module.log_dict(scores)
        self._draw(trainer, rows)

    @staticmethod
    def _draw(trainer: L.Trainer, rows: list[GridRow]) -> None:
        from lightning_embed.evaluation.reports.plots import plot_grid

        metric = list(rows[0].scores)[-1]
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger) and trainer.is_global_zero:
                logger.experiment.add_figure(
                    "grid", plot_grid({"student": rows}, metric), trainer.global_step, close=False
                )


@contextmanager
def _quiet_and_unseeded() -> Iterator[None]:
    """mteb seeds the global generators when it makes tasks and evaluators: training must not notice. Nor are its bars of use here."""
    python, numpy_state = random.getstate(), np.random.get_state()
    try:
        with quiet("datasets"), torch.random.fork_rng():
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy_state)
