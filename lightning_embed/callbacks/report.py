"""The end of a run: how the student compares with its teacher, and the folder to use it from."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import lightning.pytorch as L
from torch import Tensor

from lightning_embed.batch import ANCHOR, TokenBatch
from lightning_embed.callbacks.average import AverageCheckpoints
from lightning_embed.callbacks.best import best_checkpoint, describe_weights
from lightning_embed.callbacks.last_checkpoint import LAST, checkpoints_folder
from lightning_embed.callbacks.training_counts import TrainingCounts
from lightning_embed.checkpoints.weights import weights_of
from lightning_embed.datamodules import EmbeddingDataModule
from lightning_embed.distributed.tensors import unshard_state
from lightning_embed.encoders.copies import gathered
from lightning_embed.encoders.teacher import StoredTeacher
from lightning_embed.encoders.text_encoder import TextEncoder
from lightning_embed.errors import GateError, UserError
from lightning_embed.evaluation.held_out import (
    can_score,
    some_documents,
    some_texts,
    student_scores,
    swap_scores,
    teacher_scores,
)
from lightning_embed.evaluation.metrics.by_source import MEAN
from lightning_embed.evaluation.metrics.grid import GridRow, halved_dims
from lightning_embed.evaluation.reports import facts, notes
from lightning_embed.evaluation.reports.facts import AFTER, BEFORE, SWAPS, TEACHER, swap_title, teacher_title
from lightning_embed.evaluation.reports.gates import broken as broken_gates
from lightning_embed.evaluation.reports.gates import check_gates
from lightning_embed.evaluation.reports.gates import values as gate_values
from lightning_embed.evaluation.reports.measuring import device_name, is_loaded, measure_models, versions
from lightning_embed.export.of_run import Export, export_run
from lightning_embed.export.ranges import TEXTS as RANGE_TEXTS
from lightning_embed.module import EmbeddingModule
from lightning_embed.utils.configs import sizes_in
from lightning_embed.utils.described import construction
from lightning_embed.utils.notes import note
from lightning_embed.utils.numbers import check_numbers
from lightning_embed.utils.teacher_names import ONE

SPEED_TEXTS = 512
VERIFIED_TEXTS = 200


class Scores(NamedTuple):
    """How the models of a run score on held-out rows."""

    grids: dict[str, list[GridRow]]
    """The teachers' titles, `student before` and `student after` -> scores on the test rows; empty where there are none."""
    metric: str
    """The score that stands for all of a row of a grid."""
    teacher_validation: dict[str, float]
    """The lone teacher's scores on the validation rows, which the student's curve is drawn beside; empty where they are not known."""
    swaps: dict[str, list[GridRow]]
    """Names of `SWAPS` -> the student's scores in the teacher's space; empty where it is not in it."""


class Failed(NamedTuple):
    """What a run ends with an error for."""

    export: str = ""
    """Why the student could not be exported."""
    gates: tuple[str, ...] = ()
    """Gates that do not hold."""


class Report(L.Callback):
    """Scores teacher, student before and student after on the test rows, exports the student, and writes and prints a report.

    Into the run's folder: `model/` (sentence-transformers), `report.md`, `report.json` and pictures. The exported model is loaded in a new
    process and compared with the student, whatever data there is; where it differs there is no `model/`, and the run ends with an error.

    Args:
        enabled: Whether to do any of it.
        dims: Sizes to truncate to; None: D, D/2, D/4 … down to 32.
        export: Whether to export the student.
        weights: Which weights are scored and exported: the `last` (their average with earlier ones, with `average`), or those of the `best`
            checkpoint, which needs validation data.
        require: Gate -> least value, such as `{of_teacher: 0.95, above_start: 0.0, int8_of_float: 0.98, 128_of_full: 0.95, export_cosine:
            0.999}`, or of one test source, `of_teacher/SOURCE`. Where one does not hold, the report says so first and the exit code is 3.

    Raises:
        UserError: A gate is unknown.
    """

    def __init__(
        self,
        enabled: bool = True,
        dims: list[int] | None = None,
        export: bool = True,
        weights: Literal["last", "best"] = "last",
        require: dict[str, float] | None = None,
    ) -> None:
        if weights not in ("last", "best"):
            raise UserError(f"report.weights: expected last or best, got {weights!r}")
        check_numbers("report.dims", dims, least=1, whole=True, optional=True)
        self.enabled, self.dims, self.export, self.weights = enabled, dims, export, weights
        self.require = dict(require or {})
        check_gates(self.require, "report.require")
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
        """Looks whether there is what the report needs, and starts the clock."""
        if self.enabled:
            self._check_gates(_module(trainer))
            if self.weights == "best" and not (best_checkpoint(trainer) and _data(trainer).rows("validation")):
                raise UserError(
                    "report.weights: best needs data.validation and checkpoint.monitor; give them, or take last"
                )
            self._check_before(trainer)
        self.counts.start()

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Scores the untrained student, once: its projection has been fitted by now."""
        if self.enabled and not self.before and trainer.global_step == 0:
            self.before = [asdict(row) for row in self._student_grid(trainer)[0]]
            self.counts.start()

    def _check_gates(self, module: EmbeddingModule) -> None:
        compared = [gate for gate in self.require if gate.startswith("of_teacher")]
        if compared and module.teachers and module.teacher is None:
            raise UserError(
                f"report.require.{compared[0]}: it compares with a single teacher, and there are several "
                f"({', '.join(module.teachers)}); require score or above_start instead"
            )

    def _check_before(self, trainer: L.Trainer) -> None:
        test = [[[rows.source.title, len(rows)] for rows in _data(trainer).rows("test")], self.dims]
        if self.before and self.scored_on not in (None, test):
            note("report: the test pairs or dims have changed since the run began, so the student before is left out")
            self.before = []
        self.scored_on = test

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: TokenBatch, batch_idx: int
    ) -> None:
        """Counts what is trained on, and what was cut off it."""
        self.counts.add(batch, trainer.world_size)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Scores, exports, writes and prints.

        Raises:
            UserError: The exported model differs from the student, or a gate does not hold; the report is written.
        """
        self.counts.stop()
        if not self.enabled or trainer.fast_dev_run or trainer.interrupted:  # type: ignore[attr-defined]
            return
        self.counts.cut = self._cut(trainer)
        best = best_checkpoint(trainer)
        chosen = Path(best.best_model_path) if self.weights == "best" and best and best.best_model_path else None
        with nullcontext(trainer.global_step) if chosen is None else weights_of(pl_module, chosen) as step:
            failed = self._report(trainer, step)
        failed = trainer.strategy.broadcast(failed)
        if failed.export:
            raise UserError(failed.export)
        if failed.gates:
            raise GateError("; ".join(failed.gates) + f"; {Path(trainer.default_root_dir) / 'report.md'} has the rest")

    def _report(self, trainer: L.Trainer, step: int) -> Failed:
        """Scores and reports the module's present weights; every rank takes part, and rank 0 says what failed."""
        scores = self._score(trainer)
        module = _module(trainer)
        student = gathered(module.student)
        projections = {name: unshard_state(one) for name, one in module.projections.items()}
        if student is None or not trainer.is_global_zero:
            return Failed()
        return self._write(trainer, student, projections, scores, step)

    def _cut(self, trainer: L.Trainer) -> dict[str, tuple[int, int]]:
        titles = [source.title for source in _data(trainer).sources("train")]
        return self.counts.cut_on_all_ranks(titles, trainer.strategy.root_device)

    def _score(self, trainer: L.Trainer) -> Scores:
        """The scores at the end of a run; every rank takes part."""
        module, data = _module(trainer), _data(trainer)
        choose = module.held_out_metric
        grids: dict[str, list[GridRow]] = {BEFORE: [GridRow(**row) for row in self.before]}
        grids |= {teacher_title(name): [] for name in module.teachers}
        swaps, validation = {}, {}
        teachers = {name: one for name, one in module.teachers.items() if can_score(one, data, "test", name)}
        if teachers:
            found = swap_scores(module.student, teachers, module.projections, data.test_dataloader(), choose)
            sizes = {AFTER: module.student.dim}
            for name, one in teachers.items():
                sizes |= dict.fromkeys([teacher_title(name), *(swap_title(swap, name) for swap in SWAPS)], one.dim)
            scored = {name: scores.grid(self.dims or halved_dims(sizes[name])) for name, scores in found.items()}
            grids |= {name: scored.pop(name) for name in (AFTER, *map(teacher_title, teachers))}
            swaps, metric = scored, found[AFTER].main
        else:
            grids[AFTER], metric = self._student_grid(trainer)
        if module.teacher is not None and can_score(module.teacher, data, "validation"):
            validation = teacher_scores(module.teacher, data.val_dataloader(), module.device, choose).compute()
        return Scores(grids, metric, validation, swaps)

    def _student_grid(self, trainer: L.Trainer) -> tuple[list[GridRow], str]:
        """The student's grid, and the name of its main score."""
        data, module = _data(trainer), _module(trainer)
        if not data.rows("test"):
            return [], MEAN
        found = student_scores(module.student, data.test_dataloader(), module.held_out_metric, module.teachers)
        return found.grid(self.dims or halved_dims(module.student.dim)), found.main

    def _write(
        self,
        trainer: L.Trainer,
        student: TextEncoder,
        projections: dict[str, dict[str, Tensor]],
        scores: Scores,
        step: int,
    ) -> Failed:
        """Exports the student, then writes and prints the report: on rank 0, which has the student whole."""
        from lightning_embed.evaluation.reports.run_report import print_report, write_report

        folder, module, data = Path(trainer.default_root_dir), _module(trainer), _data(trainer)
        averages = [c for c in trainer.callbacks if isinstance(c, AverageCheckpoints) and c.saved]  # type: ignore[attr-defined]
        artefacts = {"checkpoint": f"{checkpoints_folder(trainer)}/{LAST}"}
        if averages:
            artefacts["averaged checkpoint"] = averages[-1].saved
        averaged = averages and self.weights == "last"
        lines = [notes.averaged(*averages[-1].steps)] if averaged else [describe_weights(trainer, step)]
        export = self._export(student, projections, folder, module, data) if self.export else Export()
        student.to(module.device)  # the copy of a sharded one is in main memory
        broken = self._broken(scores, export)
        report = facts.Report(
            models=measure_models(module.teachers, student, scores.grids, export.folder, some_texts(data, SPEED_TEXTS)),
            training=self._training(trainer),
            scored_on=_scored_on(data),
            metric=scores.metric,
            artefacts=artefacts,
            exported=export.folder,
            notes=[*export.notes, *lines, *self._notes(module, data)],
            failures=[export.failed] * bool(export.failed) + broken,
            swaps=[facts.ModelReport(name, grid=grid) for name, grid in scores.swaps.items()],
            teachers=list(module.teachers) or [ONE],
        )
        curves = sorted(folder.glob("csv/*/metrics.csv"), key=lambda path: path.stat().st_mtime)
        print_report(write_report(report, folder, curves[-1] if curves else None, scores.teacher_validation))
        return Failed(export.failed, tuple(broken))

    def _export(
        self,
        student: TextEncoder,
        projections: dict[str, dict[str, Tensor]],
        folder: Path,
        module: EmbeddingModule,
        data: EmbeddingDataModule,
    ) -> Export:
        sizes = sizes_in({"model": construction(module).settings, "report": {"dims": self.dims}})
        texts, documents = some_texts(data, VERIFIED_TEXTS), some_documents(data, RANGE_TEXTS)
        return export_run(student, projections, folder, texts, documents, sizes)

    def _broken(self, scores: Scores, export: Export) -> list[str]:
        """The gates that do not hold."""
        main, student = scores.metric, scores.grids[AFTER]
        tasks = {name.rpartition("/")[0]: name for name in (student[0].scores if student else {}) if "/" in name}
        found = gate_values({"": main, **tasks}, student, scores.grids.get(TEACHER, []), scores.grids[BEFORE])
        if export.least is not None:
            found["export_cosine"] = export.least
        return broken_gates(self.require, found)

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
        for name, teacher in module.teachers.items():
            if isinstance(teacher, StoredTeacher):
                found.append(notes.teacher_is_given(name))
            elif not is_loaded(teacher):
                found.append(notes.teacher_was_stored(name))
        return found + data.notes(self.counts.rows)


def _scored_on(data: EmbeddingDataModule) -> str:
    sources = data.rows("test")
    titles = ", ".join(dict.fromkeys(rows.source.title for rows in sources))
    documents = sum(len(rows) for rows in sources if ANCHOR not in rows.roles)
    alone = f" and {documents:,} documents" if documents else ""
    return f"{sum(map(len, sources)) - documents:,} rows{alone} of {titles}" if sources else ""


def _data(trainer: L.Trainer) -> EmbeddingDataModule:
    return cast(EmbeddingDataModule, trainer.datamodule)  # type: ignore[attr-defined]


def _module(trainer: L.Trainer) -> EmbeddingModule:
    return cast(EmbeddingModule, trainer.lightning_module)
