"""A run's folder is complete, whatever loggers the configuration names."""

from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning_utilities.core.imports import RequirementCache

from lightning_embed.cli.displays import loggers
from tests.cli.test_fit import config, losses, refused, run


@pytest.mark.parametrize("kind", ["TensorBoardLogger", "CSVLogger"])
def test_the_curves_and_their_picture_are_in_the_folder_beside_a_logger_of_the_users(
    kind: str, teacher: Path, student: Path, pairs: Path, tmp_path: Path
) -> None:
    job = config(teacher, student, pairs, tmp_path / "run")
    elsewhere = {"save_dir": str(tmp_path / "elsewhere"), "name": "mine"}
    job["trainer"]["logger"] = [{"class_path": f"lightning.pytorch.loggers.{kind}", "init_args": elsewhere}]
    run(job, tmp_path, "--report.export", "false")
    assert len(losses(tmp_path / "run")) == 4
    for name in ("config.yaml", "training.png", "csv/version_0/metrics.csv"):
        assert (tmp_path / "run" / name).stat().st_size > 0
    assert list((tmp_path / "elsewhere/mine").rglob("*.*")) and not (tmp_path / "run/tensorboard").exists()


def test_ours_stand_beside_those_of_a_configuration_once(tmp_path: Path) -> None:
    own: list[Any] = [CSVLogger(tmp_path, name="csv"), TensorBoardLogger(tmp_path, name="tensorboard")]
    theirs = TensorBoardLogger(tmp_path / "other")
    same = CSVLogger(tmp_path, name="csv")
    assert loggers(None, own) == loggers(True, own) == own
    assert loggers(False, own) is False
    assert loggers(theirs, own) == loggers([theirs], own) == [theirs, own[0]]
    assert loggers([theirs, same], own) == [theirs, same]


@pytest.mark.parametrize(("kind", "package"), [("WandbLogger", "wandb"), ("MLFlowLogger", "mlflow")])
def test_doctor_finds_a_logger_that_cannot_be_made(
    kind: str, package: str, teacher: Path, student: Path, pairs: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(
        f"lightning.pytorch.loggers.{package}._{package.upper()}_AVAILABLE", RequirementCache(f"{package}>=99")
    )
    job = config(teacher, student, pairs, tmp_path / "run")
    job["trainer"]["logger"] = [{"class_path": "CSVLogger", "init_args": {"save_dir": "logs"}}, {"class_path": kind}]
    said = refused(job, tmp_path, capsys, command="doctor")
    assert f"trainer.logger: {kind} cannot be made: Requirement '{package}>=99' not met" in said


def test_doctor_leaves_nothing_of_the_loggers_behind(
    teacher: Path, student: Path, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = config(teacher, student, pairs, tmp_path / "run")
    places = {"save_dir": str(tmp_path / "logs"), "name": "mine"}
    job["trainer"]["logger"] = [{"class_path": one, "init_args": places} for one in ("CSVLogger", "TensorBoardLogger")]
    run(job, tmp_path, command="doctor")
    assert "nothing wrong" in capsys.readouterr().out and not (tmp_path / "logs").exists()
    assert not (tmp_path / "run").exists()
