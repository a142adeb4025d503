"""`examine`, as a notebook calls it."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import pytest

from lightning_embed import (
    FSDP2,
    Distillation,
    EmbeddingDataModule,
    EmbeddingModule,
    FrozenEncoder,
    InfoNCE,
    LossSchedule,
    LossTerm,
    Projection,
    Source,
    TextEncoder,
    examine,
)
from lightning_embed.doctor import print_diagnosis
from lightning_embed.doctor.run import Run
from tests.doctor.jobs import found


def trainer(**settings: Any) -> L.Trainer:
    return L.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, **settings)


def module(student: Path, teacher: Path) -> EmbeddingModule:
    losses = {"distill": LossTerm(Distillation()), "nce": LossTerm(InfoNCE())}
    return EmbeddingModule(
        TextEncoder(str(student), dropout=0.0), losses, FrozenEncoder(str(teacher)), projection=Projection()
    )


def test_it_finds_what_the_command_finds(
    job: dict[str, Any], student: Path, teacher: Path, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = EmbeddingDataModule([Source(str(pairs))], global_batch_size=16, num_workers=0)
    by_command = found(job, tmp_path)
    page = capsys.readouterr().out
    diagnosis = examine(module(student, teacher), data, trainer(max_steps=12))
    by_function = json.loads(json.dumps(asdict(diagnosis)))
    for now in (by_command, by_function):
        del now["memory_there"]  # what the machine has to spare changes
    assert by_function == by_command
    print_diagnosis(diagnosis)
    assert "steps per epoch: 6; the run: 12 steps, 2 epochs" in page and "96 rows" in capsys.readouterr().out


def test_without_a_trainer_it_is_one_process_without_an_end(student: Path, teacher: Path, pairs: Path) -> None:
    data = EmbeddingDataModule([Source(str(pairs))], global_batch_size=16, num_workers=0)
    diagnosis = examine(module(student, teacher), data)
    assert (diagnosis.steps, diagnosis.ranks, diagnosis.contrastive) == (None, 1, True)


def test_a_loss_schedule_of_the_trainer_counts(student: Path, teacher: Path, pairs: Path) -> None:
    data = EmbeddingDataModule([Source(str(pairs))], global_batch_size=16, num_workers=0)
    never = LossSchedule({0: {"nce": 0.0}})
    assert not examine(module(student, teacher), data, trainer(max_steps=12, callbacks=[never])).contrastive


def test_a_trainers_settings() -> None:
    run = Run.of(trainer(max_steps=7, devices=2, strategy="ddp", accumulate_grad_batches=3, precision="bf16-mixed"))
    assert run == Run(max_steps=7, max_epochs=None, accumulate=3, ranks=2, on_gpu=False, mixed=True, shard=0)
    assert Run.of(trainer(max_epochs=2)) == Run(max_epochs=2)
    sharded = Run(max_epochs=2, ranks=4)
    for strategy, shard in ((FSDP2(), 4), (FSDP2(replicate=2), 2), (FSDP2(shard=2, replicate=2), 2)):
        assert Run.of(trainer(max_epochs=2, devices=4, strategy=strategy)) == replace(sharded, shard=shard)
