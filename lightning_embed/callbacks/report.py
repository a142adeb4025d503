"""The end of a run: how the student compares with its teacher, and the folder to use it from."""

from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple, cast

import lightning.pytorch as L
from torch import Tensor

from lightning_embed.batch import TokenBatch
from lightning_embed.callbacks.average import AverageCheckpoints
from lightning_embed.callbacks.last_checkpoint import LAST, checkpoints_folder
from lightning_embed.callbacks.training_counts import TrainingCounts
from lightning_embed.datamodules import EmbeddingDataModule
from lightning_embed.distributed.tensors import unshard_state
from lightning_embed.encoders.copies import gathered
from lightning_embed.encoders.text_encoder import TextEncoder
from lightning_embed.evaluation.held_out import can_score, held_out_anchors, student_scores, teacher_scores
from lightning_embed.evaluation.metrics.by_source import MEAN
from lightning_embed.evaluation.metrics.grid import GridRow, halved_dims
from lightning_embed.evaluation.reports import facts, notes
from lightning_embed.evaluation.reports.facts import AFTER, BEFORE, TEACHER
from lightning_embed.evaluation.reports.measuring import device_name, is_loaded, measure_models, versions
from lightning_embed.heads.projection import write_projection
from lightning_embed.module import EmbeddingModule
from lightning_embed.utils.notes import note

SPEED_TEXTS = 512
VERIFIED_TEXTS = 200


class Scores(NamedTuple):
    """How the models of a run score on held-out rows."""

    grids: dict[str, list[GridRow]]
    """`teacher`, `student before` and `student after` -> scores on the test rows; empty where there are none."""
    metric: str
    """The score that stands for all of a row of a grid."""
    teacher_validation: dict[str, float]
    """The teacher's scores on the validation rows, which the student's curve is drawn beside; empty where they are not known."""


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
        self._start()

    def _start(self) -> None:
        self.before: list[dict[str, Any]] = []
        """The untrained student's scores."""
        self.scored_on: list[Any] | None = None
        """The test sources, their rows and the dims of `before`."""
        self.counts = TrainingCounts()

    def state_dict(self) -> dict[str, Any]:
        """The student's scores before training and what was trained on so far, for a resumed run."""
        return {"before": self.before, "scored_on": self.scored_on, **self.counts.state()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes over the scores and counts from before the run was stopped."""
        self.before, self.scored_on = state_dict["before"], state_dict.get("scored_on")
        self.counts.load(state_dict)

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Forgets an earlier run of the same object."""
        if stage == "fit" and trainer.global_step == 0:
            self._start()

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Puts all ranks' count of cut texts in the checkpoint, which else holds rank 0's state."""
        checkpoint["callbacks"][self.state_key]["cut"] = self._cut(trainer)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Scores the untrained student, once."""
        if self.enabled:
            self._score_before(trainer)
        self.counts.start()

    def _score_before(self, trainer: L.Trainer) -> None:
        test = [[[rows.source.title, len(rows)] for rows in _data(trainer).rows("test")], self.dims]
        if self.before and self.scored_on not in (None, test):
            note("report: the test pairs or dims have changed since the run began, so the student before is left out")
            self.before = []
        self.scored_on = test
        if not self.before and trainer.global_step == 0:
            self.before = [asdict(row) for row in self._student_grid(trainer)[0]]

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: TokenBatch, batch_idx: int
    ) -> None:
        """Counts what is trained on, and what was cut off it."""
        self.counts.add(batch, trainer.world_size)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Scores, exports, writes and prints."""
        self.counts.stop()
        if not self.enabled or trainer.fast_dev_run or trainer.interrupted:  # type: ignore[attr-defined]
            return
        self.counts.cut = self._cut(trainer)
        scores = self._score(trainer)
        module = _module(trainer)
        student = gathered(module.student)
        projection = None if module.projection is None else unshard_state(module.projection)
        if student is not None and trainer.is_global_zero:
            self._write(trainer, student, projection, scores)
        trainer.strategy.barrier()

    def _cut(self, trainer: L.Trainer) -> dict[str, tuple[int, int]]:
        titles = [source.title for source in _data(trainer).sources("train")]
        return self.counts.cut_on_all_ranks(titles, trainer.strategy.root_device)

    def _score(self, trainer: L.Trainer) -> Scores:
        """The scores at the end of a run; every rank takes part."""
        module, data = _module(trainer), _data(trainer)
        teacher, choose = module.teacher, module.held_out_metric
        after, metric = self._student_grid(trainer)
        grids = {BEFORE: [GridRow(**row) for row in self.before], AFTER: after, TEACHER: []}
        validation = {}
        if teacher is not None and can_score(teacher, data, "test"):
            found = teacher_scores(teacher, data.test_dataloader(), module.device, choose)
            grids[TEACHER] = found.grid(self.dims or halved_dims(teacher.dim))
        if teacher is not None and can_score(teacher, data, "validation"):
            validation = teacher_scores(teacher, data.val_dataloader(), module.device, choose).compute()
        return Scores(grids, metric, validation)

    def _student_grid(self, trainer: L.Trainer) -> tuple[list[GridRow], str]:
        """The student's grid, and the name of its main score."""
        data, module = _data(trainer), _module(trainer)
        if not data.rows("test"):
            return [], MEAN
        found = student_scores(module.student, data.test_dataloader(), module.held_out_metric)
        return found.grid(self.dims or halved_dims(module.student.dim)), found.main

    def _write(
        self, trainer: L.Trainer, student: TextEncoder, projection: dict[str, Tensor] | None, scores: Scores
    ) -> None:
        """Exports the student, then writes and prints the report: on rank 0, which has the student whole."""
        from lightning_embed.evaluation.reports.run_report import print_report, write_report

        folder, module, data = Path(trainer.default_root_dir), _module(trainer), _data(trainer)
        averages = [c for c in trainer.callbacks if isinstance(c, AverageCheckpoints) and c.saved]  # type: ignore[attr-defined]
        artefacts = {"checkpoint": f"{checkpoints_folder(trainer)}/{LAST}"}
        if averages:
            artefacts["averaged checkpoint"] = averages[-1].saved
        lines = [notes.averaged(*average.steps) for average in averages]
        if self.export:
            lines += _export(student, projection, folder, held_out_anchors(data, VERIFIED_TEXTS))
        exported = str(folder / "model") if self.export else ""
        student.to(module.device)  # the copy of a sharded one is in main memory
        texts = held_out_anchors(data, SPEED_TEXTS)
        report = facts.Report(
            models=measure_models(module.teacher, student, scores.grids, exported, texts),
            training=self._training(trainer),
            scored_on=_scored_on(data),
            metric=scores.metric,
            artefacts=artefacts,
            exported=exported,
            notes=lines + self._notes(module, data),
        )
        curves = sorted(folder.glob("csv/*/metrics.csv"), key=lambda path: path.stat().st_mtime)
        print_report(write_report(report, folder, curves[-1] if curves else None, scores.teacher_validation))

    def _training(self, trainer: L.Trainer) -> facts.TrainingFacts:
        return facts.TrainingFacts(
            steps=trainer.global_step,
            rows=self.counts.rows,
            tokens=self.counts.tokens,
            seconds=self.counts.seconds,
            device=f"{trainer.world_size} x {device_name(_module(trainer).device)}",
            versions=versions(),
        )

    def _notes(self, module: EmbeddingModule, data: EmbeddingDataModule) -> list[str]:
        student, found = module.student, []
        if student.adapter is not None:
            trained = sum(p.numel() for p in student.parameters() if p.requires_grad)
            found.append(notes.adapter(trained, student.model))
        longest = student.tokenizer.max_length
        lengths = {rows.source.title: rows.source.max_length or longest for rows in data.rows("train")}
        found += notes.cut_texts(self.counts.cut, lengths)
        if module.teacher is not None and not is_loaded(module.teacher):
            found.append(notes.TEACHER_WAS_STORED)
        return found + data.notes(self.counts.rows)


def _export(student: TextEncoder, projection: dict[str, Tensor] | None, folder: Path, texts: list[str]) -> list[str]:
    """Writes `model/` and the projection into a run's folder and verifies the model on some texts; returns what to note."""
    from lightning_embed.export.folder import export_encoder, verify_export

    export_encoder(student, folder / "model")
    if projection is not None:
        write_projection(projection, folder)
    found = [notes.verified(verify_export(student, folder / "model", texts))] if texts else []
    if student.export_rope_theta is not None:
        found.append(notes.other_theta(student.export_rope_theta))
    return found


def _scored_on(data: EmbeddingDataModule) -> str:
    sources = data.rows("test")
    titles = ", ".join(rows.source.title for rows in sources)
    return f"{sum(len(rows) for rows in sources):,} rows of {titles}" if sources else ""


def _data(trainer: L.Trainer) -> EmbeddingDataModule:
    return cast(EmbeddingDataModule, trainer.datamodule)  # type: ignore[attr-defined]


def _module(trainer: L.Trainer) -> EmbeddingModule:
    return cast(EmbeddingModule, trainer.lightning_module)
