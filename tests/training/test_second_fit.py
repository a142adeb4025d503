"""What a first fit leaves in Python's objects does not spoil a second one."""

from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import pytest
import torch

from lightning_embed import (
    Distillation,
    EmbeddingDataModule,
    EmbeddingModule,
    FrozenEncoder,
    LossTerm,
    Projection,
    Report,
    Source,
    TextEncoder,
    UserError,
    trainer_defaults,
)


def module_of(student: TextEncoder, teacher: Any) -> EmbeddingModule:
    projection = Projection()
    losses = {"distill": LossTerm(Distillation())}
    return EmbeddingModule(student, losses, teacher, projection, optimizer=partial(torch.optim.SGD, lr=0.1))  # type: ignore[arg-type]


def fit(module: EmbeddingModule, pairs: Path, folder: Path, *callbacks: L.Callback) -> L.Trainer:
    source = [Source(path=str(pairs))]
    data = EmbeddingDataModule(source, test=source, global_batch_size=16, num_workers=0)
    settings: dict[str, Any] = {"accelerator": "cpu", "max_steps": 2, "enable_progress_bar": False}
    trainer = L.Trainer(**trainer_defaults(folder, callbacks=callbacks), **settings)
    trainer.fit(module, data)
    return trainer


def test_a_second_fit_trains_the_projection_on(teacher: Path, student: Path, pairs: Path, tmp_path: Path) -> None:
    module = module_of(TextEncoder(str(student)), FrozenEncoder(str(teacher)))
    fit(module, pairs, tmp_path / "one")
    before = module.projection.weight.clone()  # type: ignore[union-attr]
    module.optimizer = partial(torch.optim.SGD, lr=0.0)  # type: ignore[assignment]
    fit(module, pairs, tmp_path / "two")
    assert torch.equal(module.projection.weight, before)  # type: ignore[union-attr]


def test_a_report_that_is_used_again_is_of_the_second_run(
    teacher: Path, student: Path, pairs: Path, tmp_path: Path
) -> None:
    report, module = Report(export=False), module_of(TextEncoder(str(student)), FrozenEncoder(str(teacher)))
    fit(module, pairs, tmp_path / "one", report)
    after = report.before
    fit(module, pairs, tmp_path / "two", report)
    assert report.counts.rows == 32 and report.before != after  # the student before is the trained one


def test_one_encoder_as_teacher_and_student_is_refused(student: Path) -> None:
    encoder = TextEncoder(str(student))
    with pytest.raises(UserError, match="teacher and student are one encoder"):
        module_of(encoder, encoder)
    assert any(p.requires_grad for p in encoder.parameters())
