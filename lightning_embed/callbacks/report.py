"""The end of a run: how the student stands against its teacher, and the folder to use it from."""

import platform
import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import lightning.pytorch as L
import torch
from torch import Tensor

from lightning_embed.batch import ANCHOR, POSITIVE, TokenBatch
from lightning_embed.callbacks.average import AverageCheckpoints
from lightning_embed.callbacks.last_checkpoint import LAST, checkpoints_folder
from lightning_embed.datamodules import EmbeddingDataModule
from lightning_embed.distributed.collectives import global_sum, rank
from lightning_embed.distributed.tensors import unshard_state
from lightning_embed.encoders.columns import encode_columns, teacher_vectors
from lightning_embed.encoders.copies import gathered, is_fsdp
from lightning_embed.encoders.pretrained import folder_bytes
from lightning_embed.encoders.teacher import StoredTeacher
from lightning_embed.encoders.text_encoder import TextEncoder
from lightning_embed.evaluation.metrics.grid import GridRow, robustness_grid
from lightning_embed.evaluation.metrics.retrieval import PairRetrieval
from lightning_embed.evaluation.reports.facts import AFTER, BEFORE, TEACHER, ModelReport, TrainingFacts
from lightning_embed.evaluation.reports.facts import Report as ReportFacts
from lightning_embed.heads.projection import write_projection
from lightning_embed.module import EmbeddingModule

METRIC = "ndcg@10"
SPEED_TEXTS = 512
VERIFIED_TEXTS = 200


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
        self.cut: dict[str, tuple[int, int]] = {}
        self._since = 0.0

    def state_dict(self) -> dict[str, Any]:
        """The student's scores before training and what was trained so far, for a run that goes on."""
        return {"before": self.before, "seconds": self._elapsed(), "rows": self.rows, "tokens": self.tokens}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes up the scores from before the run was stopped."""
        self.before, self.seconds = state_dict["before"], state_dict["seconds"]
        self.rows, self.tokens = state_dict["rows"], state_dict["tokens"]
        self.cut = dict(state_dict["cut"]) if rank() == 0 else {}

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Puts all ranks' count of cut texts in the checkpoint, which is else rank 0's."""
        checkpoint["callbacks"][self.state_key]["cut"] = self._all_cut(trainer)

    def _all_cut(self, trainer: L.Trainer) -> dict[str, tuple[int, int]]:
        """Source -> texts cut and tokens lost, over all ranks."""
        titles = list(dict.fromkeys(source.title for source in _data(trainer).sources("train")))
        mine = torch.tensor([self.cut.get(title, (0, 0)) for title in titles], device=trainer.strategy.root_device)
        every = global_sum(mine.reshape(-1, 2)).tolist()
        return {title: (texts, lost) for title, (texts, lost) in zip(titles, every, strict=True) if texts}

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
        """Counts what is trained on, and what was cut off it."""
        if batch.texts_cut:
            texts, lost = self.cut.get(batch.source, (0, 0))
            self.cut[batch.source] = (texts + batch.texts_cut, lost + batch.tokens_lost)
        self.rows += len(batch) * trainer.world_size
        self.tokens += batch.token_count * trainer.world_size

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Scores, exports, writes and prints."""
        self.seconds, self._since = self._elapsed(), 0.0
        if not self.enabled or trainer.fast_dev_run or trainer.interrupted:  # type: ignore[attr-defined]
            return
        self.cut = self._all_cut(trainer)
        after = self._grid(trainer, pl_module.student) if self._has_test(trainer) else []  # type: ignore[arg-type]
        teacher = pl_module.teacher
        teachers = self._grid(trainer, teacher) if self._knows(trainer, teacher, "test") else []  # type: ignore[arg-type]
        reference = self._validated(trainer, teacher) if self._knows(trainer, teacher, "validation") else None  # type: ignore[arg-type]
        assert isinstance(pl_module, EmbeddingModule)
        student = gathered(pl_module.student)
        projection = None if pl_module.projection is None else unshard_state(pl_module.projection)
        if student is not None and trainer.is_global_zero:
            before = [GridRow(**row) for row in self.before]
            grids = {TEACHER: teachers, BEFORE: before, AFTER: after}
            self._finish(trainer, pl_module, student, projection, grids, reference)
        trainer.strategy.barrier()

    @staticmethod
    def _has_test(trainer: L.Trainer) -> bool:
        return bool(_data(trainer).rows("test"))

    @staticmethod
    def _knows(trainer: L.Trainer, teacher: Any, split: str) -> bool:
        """Whether the teacher can give the vectors of a split's pairs."""
        if not _data(trainer).rows(split):
            return False
        known = isinstance(teacher, StoredTeacher) and _data(trainer).teacher_is_stored(split)
        return known or isinstance(teacher, TextEncoder)

    def _grid(self, trainer: L.Trainer, encoder: TextEncoder | StoredTeacher) -> list[GridRow]:
        """The dims x precision grid of an encoder on the test pairs (every rank takes part)."""
        collected = self._collect(trainer, encoder, _data(trainer).test_dataloader())
        queries, documents, relevant = (tensor.cpu() for tensor in collected.vectors())
        return robustness_grid(queries, documents, relevant, self.dims or default_dims(encoder.dim))

    def _validated(self, trainer: L.Trainer, teacher: TextEncoder | StoredTeacher) -> float:
        """The teacher's score on the validation pairs, which the student's curve is drawn beside."""
        return self._collect(trainer, teacher, _data(trainer).val_dataloader()).compute()[METRIC]

    @staticmethod
    def _collect(
        trainer: L.Trainer, encoder: TextEncoder | StoredTeacher, batches: Iterable[TokenBatch]
    ) -> PairRetrieval:
        """The vectors of all pairs; of the teacher's, the stored ones where they are."""
        device = encoder.device if isinstance(encoder, TextEncoder) else trainer.lightning_module.device
        metric = PairRetrieval().to(device)
        own, roles = encoder is trainer.lightning_module.student, [ANCHOR, POSITIVE]
        training = encoder.training
        encoder.eval()
        for batch in batches:
            moved = batch.to(device)
            with torch.no_grad():  # not inference mode: sharded weights that were gathered in it could not train
                vectors = (
                    encode_columns(encoder, moved.student, roles) if own else teacher_vectors(encoder, moved, roles)
                )
            metric.update(vectors[ANCHOR], vectors[POSITIVE], moved.keys[POSITIVE])
        encoder.train(training)
        return metric

    def _finish(
        self,
        trainer: L.Trainer,
        module: EmbeddingModule,
        student: TextEncoder,
        projection: dict[str, Tensor] | None,
        grids: dict[str, list[GridRow]],
        reference: float | None,
    ) -> None:
        """Exports the student and proves the export, then writes and prints the report (rank 0, which has it whole)."""
        from lightning_embed.evaluation.reports.run_report import print_report, write_report

        folder = Path(trainer.default_root_dir)
        artefacts, notes, exported = {"checkpoint": f"{checkpoints_folder(trainer)}/{LAST}"}, [], ""
        for average in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(average, AverageCheckpoints) and average.saved:
                artefacts["averaged checkpoint"] = average.saved
                notes.append(
                    "The student after is the average of its weights at steps {:,} and {:,}.".format(*average.steps)
                )
        if self.export:
            from lightning_embed.export.folder import export_encoder, verify_export

            exported = str(folder / "model")
            export_encoder(student, folder / "model")
            if projection is not None:
                write_projection(projection, folder)
            if grids[AFTER]:
                least = verify_export(student, folder / "model", self._texts(trainer, VERIFIED_TEXTS))
                notes.append(
                    f"Loaded again in a new process, the exported model gives the same vectors (least cosine {least:.6f})."
                )
            if student.export_rope_theta is not None:
                notes.append(
                    f"The exported model has rope_theta {student.export_rope_theta:g}; the scores are those of the θ of training."
                )
        if module.student.adapter is not None:
            trained = sum(p.numel() for p in module.student.parameters() if p.requires_grad)
            notes.append(
                f"An adapter of {trained:,} weights was trained on {module.student.model}, which stayed as it is; "
                "the exported model has it merged in."
            )
        lengths = {rows.source.title: rows.source.max_length for rows in _data(trainer).rows("train")}
        notes += [
            f"{title}: {texts:,} texts were longer than max_length {lengths[title] or module.student.tokenizer.max_length} and cut; "
            f"{lost:,} tokens were lost."
            for title, (texts, lost) in self.cut.items()
        ]
        notes += _data(trainer).notes(self.rows)
        student.to(module.device)  # the copy of a sharded one is in main memory
        models = []
        for name, encoder in ((TEACHER, module.teacher), (BEFORE, student), (AFTER, student)):
            if isinstance(encoder, StoredTeacher):
                models.append(ModelReport(name, encoder.dim, grid=grids[name]))
            elif encoder is not None and (grids[name] or name != BEFORE):
                models.append(self._model(trainer, name, encoder, grids[name], exported))
        if isinstance(module.teacher, StoredTeacher) or not getattr(module.teacher, "loaded", True):
            notes.append(
                "The teacher's vectors came from the store: it was not loaded, and its speed was not measured."
            )
        training = TrainingFacts(
            trainer.global_step,
            self.rows,
            self.tokens,
            self.seconds,
            f"{trainer.world_size} x {device_name(module.device)}",
            {"torch": torch.__version__, "lightning": L.__version__, "python": platform.python_version()},
        )
        pairs = sum(len(rows) for rows in _data(trainer).rows("test"))
        titles = ", ".join(rows.source.title for rows in _data(trainer).rows("test"))
        report = ReportFacts(
            models, training, f"{pairs:,} pairs of {titles}" if pairs else "", METRIC, artefacts, exported, notes
        )
        curves = sorted(folder.glob("csv/*/metrics.csv"), key=lambda path: path.stat().st_mtime)
        print_report(write_report(report, folder, curves[-1] if curves else None, reference))

    def _model(
        self, trainer: L.Trainer, name: str, encoder: TextEncoder, grid: list[GridRow], exported: str
    ) -> ModelReport:
        size = folder_bytes(encoder.folder) if name == TEACHER else folder_bytes(exported) if exported else None
        timed = grid and name != BEFORE and getattr(encoder, "loaded", True) and not is_fsdp(encoder)
        return ModelReport(
            name,
            encoder.dim,
            encoder.parameter_count,
            size,
            int(encoder.config.num_hidden_layers),
            self.speed(trainer, encoder) if timed else None,
            grid,
        )

    def _texts(self, trainer: L.Trainer, most: int) -> list[str]:
        """Some test anchors."""
        rows = _data(trainer).rows("test")[0]
        taken: list[str] = rows.take(list(range(min(most, len(rows)))))[ANCHOR]
        return taken

    def speed(self, trainer: L.Trainer, encoder: TextEncoder) -> float:
        """Queries a second that an encoder embeds on this device.

        Args:
            trainer: Whose test anchors are the queries.
            encoder: The encoder.
        """
        texts = self._texts(trainer, SPEED_TEXTS)
        encoder.encode(texts[:32], "query")
        start = time.perf_counter()
        encoder.encode(texts, "query")
        return len(texts) / (time.perf_counter() - start)


def _data(trainer: L.Trainer) -> EmbeddingDataModule:
    return cast(EmbeddingDataModule, trainer.datamodule)  # type: ignore[attr-defined]


def device_name(device: torch.device) -> str:
    """A device in words.

    Args:
        device: Which.
    """
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"


def default_dims(dim: int) -> list[int]:
    """D and its halves, down to 32.

    Args:
        dim: D.
    """
    dims = [dim]
    while dims[-1] // 2 >= 32:
        dims.append(dims[-1] // 2)
    return dims
