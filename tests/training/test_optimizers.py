"""ReduceLROnPlateau looks at its score after each validation."""

from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler

from lightning_embed.errors import UserError
from lightning_embed.module import EmbeddingModule
from lightning_embed.training.optimizers import optimizer_settings, step_after_validation
from lightning_embed.training.parameters import parameter_groups
from tests.cli.test_fit import config, run


class Plateaus(EmbeddingModule):
    """Watches its score, and keeps the learning rate of each step."""

    rates: ClassVar[list[float]] = []

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer = self.optimizer(parameter_groups(self))  # type: ignore[misc]
        return optimizer_settings(optimizer, self.lr_scheduler(optimizer))  # type: ignore[misc]

    def on_validation_end(self) -> None:
        step_after_validation(self.trainer)

    def on_train_batch_end(self, *rest: Any) -> None:
        self.rates.append(self.trainer.optimizers[0].param_groups[0]["lr"])


def job_of(teacher: Path, student: Path, pairs: Path, folder: Path) -> dict[str, Any]:
    job = config(teacher, student, pairs, folder)
    job["model"]["class_path"] = "tests.training.test_optimizers.Plateaus"
    job["trainer"] |= {"max_steps": 8, "val_check_interval": 2, "enable_model_summary": False}
    return job | {"report": {"enabled": False}}


def plateau(**settings: Any) -> dict[str, Any]:
    return {
        "class_path": "lightning.pytorch.cli.ReduceLROnPlateau",
        "init_args": {"monitor": "val/ndcg@10", "mode": "max", "factor": 0.5, "patience": 0, "threshold": 2.0}
        | settings,
    }


def test_the_rate_falls_after_validations_without_a_better_score(
    teacher: Path, student: Path, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Plateaus, "rates", [])
    job = job_of(teacher, student, pairs, tmp_path / "run")
    job["model"]["init_args"]["lr_scheduler"] = (
        plateau()
    )  # no score is 3 times the best, so every validation but the first lowers it
    run(job, tmp_path)
    assert Plateaus.rates == pytest.approx([0.01] * 4 + [0.005] * 2 + [0.0025] * 2)


def test_a_score_that_is_not_there_is_named(
    teacher: Path, student: Path, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = job_of(teacher, student, pairs, tmp_path / "run")
    job["model"]["init_args"]["lr_scheduler"] = plateau(monitor="val/loss")
    with pytest.raises(SystemExit):
        run(job, tmp_path)
    assert "error: lr_scheduler.monitor val/loss: there is no such score; logged are" in capsys.readouterr().err


def test_a_plateau_without_a_score_and_a_schedule_of_steps() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    with pytest.raises(UserError, match="needs the score to watch"):
        optimizer_settings(optimizer, torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer))
    assert optimizer_settings(optimizer, None) is optimizer
    schedule = torch.optim.lr_scheduler.ConstantLR(optimizer)
    assert optimizer_settings(optimizer, schedule)["lr_scheduler"] == {"scheduler": schedule, "interval": "step"}  # type: ignore[index,call-overload]
