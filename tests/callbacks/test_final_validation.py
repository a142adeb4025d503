"""Every run ends with a validation, and none is lost to a stop."""

from pathlib import Path
from typing import Any

import pandas
import pytest

from tests.callbacks.test_last_checkpoint import job, step_of
from tests.callbacks.test_stopping import accident
from tests.cli.test_fit import run

__all__ = ["job"]
EARLY = {"class_path": "EarlyStopping", "init_args": {"monitor": "val/ndcg@10", "mode": "max"}}


def validations(folder: Path) -> list[int]:
    """The steps that were validated, as the log counts them: from 0."""
    tables = [pandas.read_csv(file) for file in sorted(folder.glob("csv/*/metrics.csv"))]
    validated = [table.dropna(subset="val/ndcg@10") for table in tables if "val/ndcg@10" in table]
    return [int(step) for table in validated for step in table["step"]]


@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        ({"max_steps": 3}, [2]),
        ({"max_steps": 8}, [5, 7]),
        ({"max_steps": 12}, [5, 11]),
        ({"max_steps": -1, "max_epochs": 1, "val_check_interval": 4}, [3, 5]),
        ({"max_steps": 14, "check_val_every_n_epoch": 9}, [13]),
        ({"max_steps": 7, "check_val_every_n_epoch": None, "val_check_interval": 5}, [4, 6]),
        ({"max_steps": -1, "max_time": {"seconds": 0}, "max_epochs": 5}, []),
    ],
)
def test_the_last_step_is_validated_once(
    settings: dict[str, Any], steps: list[int], job: dict[str, Any], tmp_path: Path
) -> None:
    job["trainer"] |= {"callbacks": [EARLY], **settings}
    run(job, tmp_path)
    home = tmp_path / "run/checkpoints"
    if not steps:  # nothing was trained
        assert not home.exists()
        return
    assert validations(tmp_path / "run") == steps and step_of(home / "last.ckpt") == steps[-1] + 1
    assert step_of(home / "best.ckpt") in [step + 1 for step in steps]


def test_a_run_that_is_stopped_is_not_validated_and_resumes_at_its_step(job: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        run(accident(job, "SignalAt", step=3), tmp_path, "--trainer.max_steps", "8")
    run(job, tmp_path, "--trainer.max_steps", "8", "--ckpt_path", "last")
    assert validations(tmp_path / "run") == [5, 7]


@pytest.mark.parametrize("interval", [1.0, pytest.param(3, marks=pytest.mark.slow)])
def test_a_validation_that_was_cut_short_is_done_as_the_run_resumes(
    interval: float, job: dict[str, Any], tmp_path: Path
) -> None:
    job["trainer"] |= {"val_check_interval": interval, "max_steps": 9}
    job["model"]["init_args"]["optimizer"]["init_args"]["lr"] = 1e-12  # the first that is validated stays the best
    job["data"]["init_args"]["eval_batch_size"] = 40
    step = 6 if interval == 1.0 else 3
    with pytest.raises(SystemExit):
        run(accident(job, "SignalAt", step=step, in_validation=True), tmp_path)
    home = tmp_path / "run/checkpoints"
    assert step_of(home / "last.ckpt") == step and not (home / "best.ckpt").exists()
    run(job, tmp_path, "--ckpt_path", "last")
    assert validations(tmp_path / "run") == ([5, 8] if interval == 1.0 else [2, 5, 8])
    assert step_of(home / "best.ckpt") == step


def test_without_validation_pairs_nothing_is_validated(job: dict[str, Any], tmp_path: Path) -> None:
    job["data"]["init_args"]["validation"] = []
    run(job, tmp_path, "--trainer.max_steps", "3")
    assert "val/ndcg@10" not in (tmp_path / "run/csv/version_0/metrics.csv").read_text()
