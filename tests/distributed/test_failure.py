"""One rank fails: every rank ends soon, with that rank's error and no other."""

import os
import signal
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import pytest

from lightning_embed.errors import UserError
from tests.cli.test_fit import config, losses, run, start


class FailAt(L.Callback):
    """Ends a rank at the third step, one way or another."""

    def __init__(self, rank: int, how: str) -> None:
        self.rank, self.how = rank, how

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx != 2 or trainer.global_rank != self.rank:
            return
        if self.how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        raise UserError("this text is bad") if self.how == "mistake" else ZeroDivisionError("of our making")


def failed(job: dict, tmp_path: Path, strategy: str | dict, rank: int, how: str) -> tuple[int, str]:
    """The exit code and output of a run of two ranks of which one fails; it must take less than a minute from then on."""
    failing = [{"class_path": "tests.distributed.test_failure.FailAt", "init_args": {"rank": rank, "how": how}}]
    job = job | {"trainer": job["trainer"] | {"callbacks": failing, "strategy": strategy, "devices": 2}}
    process = start(job, tmp_path, "--report.enabled", "false", "--last_checkpoint.every_n_steps", "1")
    output, _ = process.communicate(timeout=240)
    print(output)
    return process.returncode, output


@pytest.mark.slow
def test_a_mistake_on_another_rank_is_told_once_and_the_run_goes_on_later_on_one_device(
    teacher: Path, student: Path, pairs: Path, tmp_path: Path
) -> None:
    job = config(teacher, student, pairs, tmp_path / "run")
    sharded = {"class_path": "FSDP2", "init_args": {"save_distributed_checkpoint": True}}
    code, output = failed(job, tmp_path, sharded, 1, "mistake")
    assert code == 2 and output.count("error: this text is bad") == 1
    assert "Traceback" not in output and "gloo" not in output
    assert (tmp_path / "run/checkpoints/last.ckpt").is_dir()
    run(job, tmp_path, "--report.enabled", "false", "--ckpt_path", "last")
    assert (tmp_path / "run/checkpoints/last.ckpt").is_file() and not list((tmp_path / "run").glob(".*"))
    assert len(losses(tmp_path / "run")) == 5  # the other rank could not save its second step alone: it is done again


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
@pytest.mark.parametrize("strategy", ["ddp", "folder"])
def test_a_signal_to_one_rank_stops_all_after_the_same_step(
    strategy: str, name: str, teacher: Path, student: Path, pairs: Path, tmp_path: Path
) -> None:
    sharded = {"class_path": "FSDP2", "init_args": {"save_distributed_checkpoint": True}}
    job = config(teacher, student, pairs, tmp_path / "run")
    stopping = [{"class_path": "tests.accidents.SignalAt", "init_args": {"step": 2, "name": name, "rank": 1}}]
    ranks = {"callbacks": stopping, "strategy": "ddp" if strategy == "ddp" else sharded, "devices": 2}
    process = start(job | {"trainer": job["trainer"] | ranks}, tmp_path, "--report.enabled", "false")
    output, _ = process.communicate(timeout=300)
    last = tmp_path / "run/checkpoints/last.ckpt"
    assert process.returncode == (143 if name == "SIGTERM" else 130), output[-3000:]
    assert f"{last} is of step 2: resume" in output and "Traceback" not in output and "error:" not in output
    assert last.is_dir() == (strategy == "folder")
    run(job, tmp_path, "--report.enabled", "false", "--ckpt_path", "last")
    assert len(losses(tmp_path / "run")) == 4


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("how", ["mistake", "bug", "kill"])
def test_whatever_ends_a_rank_ends_all_with_one_error(
    how: str, rank: int, strategy: str, teacher: Path, student: Path, pairs: Path, tmp_path: Path
) -> None:
    code, output = failed(config(teacher, student, pairs, tmp_path / "run"), tmp_path, strategy, rank, how)
    assert "gloo" not in output
    if how == "mistake":
        assert code == 2 and output.count("error: this text is bad") == 1 and "Traceback" not in output
    elif how == "bug":
        assert code == 1 and output.count("ZeroDivisionError: of our making") == 1
        assert output.count("Traceback") == 1
    else:
        told = output.count("lost the others: one of them ended") + output.count("terminated with code -9")
        assert code != 0 and told == 1 and "Traceback" not in output
