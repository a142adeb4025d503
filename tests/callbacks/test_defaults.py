"""A Trainer made by hand does what the command line's does."""

import json
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import pytest

from lightning_embed import (
    Distillation,
    EmbeddingDataModule,
    EmbeddingModule,
    LossTerm,
    Projection,
    Source,
    TextEncoder,
)
from lightning_embed.callbacks import trainer_defaults
from lightning_embed.checkpoints.io import CheckpointFiles
from lightning_embed.encoders.teacher import FrozenEncoder
from tests.callbacks.test_last_checkpoint import step_of
from tests.cli.test_fit import config, losses, run

QUIET: dict[str, Any] = {"accelerator": "cpu", "enable_progress_bar": False, "enable_model_summary": False}


def trained(
    student: Path, teacher: Path, pairs: Path, validated: bool = True, steps: int = 12, **settings: Any
) -> L.Trainer:
    sources = [Source(str(pairs))]
    held_out = sources if validated else None
    data = EmbeddingDataModule(sources, held_out, held_out, global_batch_size=16, num_workers=0)
    terms = {"distill": LossTerm(Distillation())}
    module = EmbeddingModule(TextEncoder(str(student)), terms, FrozenEncoder(str(teacher)), Projection())
    trainer = L.Trainer(**settings, **QUIET, max_steps=steps)
    trainer.fit(module, data)
    return trainer


def test_a_run_by_hand_leaves_what_fit_leaves(student: Path, teacher: Path, pairs: Path, tmp_path: Path) -> None:
    settings = trainer_defaults(tmp_path, report=True) | {"log_every_n_steps": 1}
    trained(student, teacher, pairs, **settings)
    assert step_of(tmp_path / "checkpoints/last.ckpt") == 12 and step_of(tmp_path / "checkpoints/best.ckpt") in (6, 12)
    assert len(losses(tmp_path)) == 12 and list(tmp_path.glob("tensorboard/*/events*"))
    report = json.loads((tmp_path / "report.json").read_text())
    assert [model["name"] for model in report["models"]] == ["teacher", "student before", "student after"]
    assert (tmp_path / "model/modules.json").is_file() and (tmp_path / "training.png").is_file()


@pytest.mark.parametrize("monitor", ["val/ndcg@10", None])
def test_where_nothing_is_validated_the_last_step_is_kept(
    monitor: str | None, student: Path, teacher: Path, pairs: Path, tmp_path: Path
) -> None:
    trained(student, teacher, pairs, False, 2, **trainer_defaults(tmp_path, monitor))
    assert [file.name for file in (tmp_path / "checkpoints").iterdir()] == ["last.ckpt"]


class Keep(L.Callback):
    """Keeps the trainer that runs it."""

    trainer: Any = None

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        Keep.trainer = trainer


def test_its_trainer_is_that_of_the_command_line(student: Path, teacher: Path, pairs: Path, tmp_path: Path) -> None:
    job = config(teacher, student, pairs, tmp_path / "run")
    job["trainer"] |= {"max_steps": 1, "enable_model_summary": False, "callbacks": [{"class_path": f"{__name__}.Keep"}]}
    run(job, tmp_path, "--report.enabled", "false")
    theirs, ours = Keep.trainer, L.Trainer(**trainer_defaults(tmp_path / "mine", report=True), **QUIET)
    of_cli = {type(one).__name__ for one in theirs.callbacks} - {"SaveConfig", "AverageCheckpoints", "Keep"}
    assert {type(one).__name__ for one in ours.callbacks} == of_cli  # type: ignore[attr-defined]
    for trainer in (theirs, ours):
        assert isinstance(trainer.strategy.checkpoint_io, CheckpointFiles)
        assert [type(one).__name__ for one in trainer.loggers] == ["CSVLogger", "TensorBoardLogger"]
    for name in ("monitor", "mode", "filename", "save_last", "save_top_k", "auto_insert_metric_name"):
        assert getattr(theirs.checkpoint_callback, name) == getattr(ours.checkpoint_callback, name)


def test_more_callbacks_come_first(tmp_path: Path) -> None:
    mine = L.Callback()
    assert trainer_defaults(tmp_path, callbacks=[mine])["callbacks"][0] is mine
