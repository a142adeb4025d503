"""A run's folder is complete, whatever loggers the configuration names."""

from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from lightning_embed.cli.displays import loggers
from tests.cli.test_fit import config, losses, run


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
