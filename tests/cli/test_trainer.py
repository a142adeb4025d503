"""Settings of the trainer that Lightning refuses: one line from `fit`, and from `doctor` before anything is trained."""

from pathlib import Path
from typing import Any

import lightning.pytorch as L
import pytest
from lightning.pytorch.accelerators import CUDAAccelerator, MPSAccelerator

from tests.cli.test_fit import config, losses, run

BAR = {"class_path": "TQDMProgressBar"}
REFUSED = {
    "validation after the epoch": ({"val_check_interval": 1000}, "check_val_every_n_epoch=None"),
    "less than a batch": ({"overfit_batches": 0.3}, "0.3 * 1 < 1"),
    "no checkpoints": ({"enable_checkpointing": False}, "last_checkpoint.enabled false"),
    "barebones": ({"barebones": True}, "trainer.barebones true"),
    "double precision": ({"precision": "64-true"}, "take 32-true"),
    "two bars": ({"enable_progress_bar": True, "callbacks": [BAR, {"class_path": "RichProgressBar"}]}, "progress bar"),
    "misspelt monitor": (
        {"callbacks": [{"class_path": "EarlyStopping", "init_args": {"monitor": "val/ndgc"}}]},
        "EarlyStopping.monitor val/ndgc: no such score is logged; did you mean val/ndcg@10?",
    ),
    "second best": (
        {"callbacks": [{"class_path": "ModelCheckpoint", "init_args": {"monitor": "train/los"}}]},
        "did you mean train/loss?",
    ),
}


@pytest.fixture
def job(teacher: Path, student: Path, pairs: Path, tmp_path: Path) -> dict[str, Any]:
    made = config(teacher, student, pairs, tmp_path / "run")
    made["trainer"] |= {"max_steps": 2, "enable_model_summary": False}
    return made | {"report": {"enabled": False}}


def refused(command: str, job: dict[str, Any], folder: Path, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line on standard error, notes aside."""
    with pytest.raises(SystemExit) as stop:
        run(job, folder, *words, command=command)
    assert stop.value.code == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.strip() and not line.startswith("note: ")]
    assert len(lines) == 1 and lines[0].startswith("error: "), lines
    return lines[0]


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("command", ["fit", "doctor"])
def test_what_lightning_refuses_is_one_line(
    command: str, case: str, job: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings, line = REFUSED[case]
    job["trainer"] |= settings
    assert line in refused(command, job, tmp_path, capsys)


def test_a_monitor_of_the_best_checkpoint_that_is_misspelt_is_named(
    job: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "did you mean val/mrr@10?" in refused("fit", job, tmp_path, capsys, "--checkpoint.monitor", "val/mrr")


def test_a_score_of_validation_cannot_be_watched_without_validation(
    job: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    del job["data"]["init_args"]["validation"]
    job["trainer"]["callbacks"] = [{"class_path": "EarlyStopping", "init_args": {"monitor": "val/ndcg@10"}}]
    assert "nothing is validated" in refused("fit", job, tmp_path, capsys)


def test_fit_resumes_from_no_best(job: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "give the file" in refused("fit", job, tmp_path, capsys, "--ckpt_path", "best")


def test_a_gpu_that_is_not_there_is_named_and_the_doctor_warns(
    job: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in (CUDAAccelerator, MPSAccelerator):
        monkeypatch.setattr(kind, "is_available", lambda *_: False)
    job["trainer"]["accelerator"] = "gpu"
    line = "trainer.accelerator gpu: torch finds no such device on this machine"
    assert line in refused("fit", job, tmp_path, capsys)
    run(job, tmp_path, command="doctor")
    assert f"warning: {line}" in capsys.readouterr().out


def test_a_logger_that_is_not_installed_is_one_line(
    job: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job["trainer"]["logger"] = {"class_path": "MLFlowLogger"}
    assert "pip install" in refused("fit", job, tmp_path, capsys)


def test_an_error_of_code_within_lightning_keeps_its_traceback(job: dict[str, Any], tmp_path: Path) -> None:
    job["trainer"]["callbacks"] = [{"class_path": "tests.cli.test_trainer.Breaks"}]
    with pytest.raises(ZeroDivisionError):
        run(job, tmp_path)


def test_a_progress_bar_can_be_chosen(job: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job["trainer"] |= {"enable_progress_bar": True, "callbacks": [BAR]}
    run(job, tmp_path)
    assert "it/s" in capsys.readouterr().out and len(losses(tmp_path / "run")) == 2


def test_a_second_model_checkpoint_writes_into_the_runs_folder_and_resumes_there(
    job: dict[str, Any], tmp_path: Path
) -> None:
    every = {
        "class_path": "ModelCheckpoint",
        "init_args": {"every_n_train_steps": 1, "save_top_k": -1, "filename": "at-{step}"},
    }
    job["trainer"]["callbacks"] = [every]
    run(job, tmp_path)
    folder = tmp_path / "run/checkpoints"
    assert {file.name for file in folder.glob("*.ckpt")} == {
        "at-step=1.ckpt",
        "at-step=2.ckpt",
        "best.ckpt",
        "last.ckpt",
    }
    run(job, tmp_path, "--ckpt_path", str(folder / "at-step=1.ckpt"), "--trainer.max_steps", "3")
    assert (folder / "at-step=3.ckpt").exists()
    assert not list(tmp_path.glob("run/csv/*/checkpoints")) and [path.name for path in tmp_path.glob("run*")] == ["run"]


class Breaks(L.Callback):
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        raise ZeroDivisionError
