"""The end of a run: how the student stands against its teacher, and the folder to use it from."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch

from lightning_embed.batch import ANCHOR, POSITIVE, TokenBatch
from lightning_embed.encoder import TextEncoder
from lightning_embed.evaluation.grid import GridRow, robustness_grid
from lightning_embed.evaluation.retrieval import PairRetrieval
from lightning_embed.module import split

SPEED_TEXTS = 512


class Report(L.Callback):
    """Scores teacher, student before and student after on the test pairs, exports the student, and writes and prints a report.

    Into the run's folder: `model/` (sentence-transformers), `report.md`, `report.json` and pictures.

    Args:
        enabled: Whether to do any of it.
        dims: Sizes to truncate to; None: D, D/2, D/4 … down to 32.
        export: Whether to export the student.
    """

    def __init__(self, enabled: bool = True, dims: list[int] | None = None, export: bool = True) -> None:
        self.enabled, self.dims, self.export = enabled, dims, export
        self.before: list[dict[str, Any]] = []
        self.seconds = 0.0
        self.rows = self.tokens = 0
        self._since = 0.0

    def state_dict(self) -> dict[str, Any]:
        """The student's scores before training and what was trained so far, for a run that goes on."""
        return {"before": self.before, "seconds": self._elapsed(), "rows": self.rows, "tokens": self.tokens}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes up the scores from before the run was stopped."""
        self.before, self.seconds = state_dict["before"], state_dict["seconds"]
        self.rows, self.tokens = state_dict["rows"], state_dict["tokens"]

    def _elapsed(self) -> float:
        return self.seconds + (time.perf_counter() - self._since if self._since else 0.0)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Scores the untrained student, once."""
        if self.enabled and not self.before and trainer.global_step == 0 and self._has_test(trainer):
            self.before = [asdict(row) for row in self._grid(trainer, pl_module.student)]  # type: ignore[arg-type]
        self._since = time.perf_counter()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: TokenBatch, batch_idx: int
    ) -> None:
        """Counts what is trained on."""
        self.rows += len(batch) * trainer.world_size
        self.tokens += batch.token_count * trainer.world_size

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Scores, exports, writes and prints."""
        self.seconds, self._since = self._elapsed(), 0.0
        if not self.enabled or trainer.fast_dev_run or trainer.interrupted:  # type: ignore[attr-defined]
            return
        after = self._grid(trainer, pl_module.student) if self._has_test(trainer) else []  # type: ignore[arg-type]
        teacher = pl_module.teacher
        teachers = self._grid(trainer, teacher) if isinstance(teacher, TextEncoder) and self._has_test(trainer) else []
        if trainer.is_global_zero:
            from lightning_embed.callbacks.report_writer import finish

            finish(self, trainer, pl_module, teachers, [GridRow(**row) for row in self.before], after)  # type: ignore[arg-type]
        trainer.strategy.barrier()

    @staticmethod
    def _has_test(trainer: L.Trainer) -> bool:
        return bool(trainer.datamodule.rows("test"))  # type: ignore[attr-defined]

    def _grid(self, trainer: L.Trainer, encoder: TextEncoder) -> list[GridRow]:
        """The dims x precision grid of an encoder on the test pairs (every rank takes part)."""
        metric = PairRetrieval().to(encoder.device)
        own = encoder is trainer.lightning_module.student
        training = encoder.training
        encoder.eval()
        for batch in trainer.datamodule.test_dataloader():  # type: ignore[attr-defined]
            moved = batch.to(encoder.device)
            with torch.inference_mode():
                vectors = split(encoder, moved.student if own else moved.teacher, [ANCHOR, POSITIVE])
            metric.update(vectors[ANCHOR], vectors[POSITIVE], moved.keys[POSITIVE])
        encoder.train(training)
        queries, documents, relevant = metric.vectors()
        return robustness_grid(queries.cpu(), documents.cpu(), relevant.cpu(), self.dims or default_dims(encoder.dim))

    def speed(self, trainer: L.Trainer, encoder: TextEncoder) -> float:
        """Queries a second that an encoder embeds on this device.

        Args:
            trainer: Whose test anchors are the queries.
            encoder: The encoder.
        """
        rows = trainer.datamodule.rows("test")[0]  # type: ignore[attr-defined]
        texts = rows.take(list(range(min(SPEED_TEXTS, len(rows)))))[ANCHOR]
        encoder.encode(texts[:32], "query")
        start = time.perf_counter()
        encoder.encode(texts, "query")
        return len(texts) / (time.perf_counter() - start)

    def folder(self, trainer: L.Trainer) -> Path:
        """The run's folder."""
        return Path(trainer.default_root_dir)


def default_dims(dim: int) -> list[int]:
    """D and its halves, down to 32.

    Args:
        dim: D.
    """
    dims = [dim]
    while dims[-1] // 2 >= 32:
        dims.append(dims[-1] // 2)
    return dims
