"""Each run has a folder to itself, however many start at once."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lightning_embed.cli.claim import LOCK, claim, release
from tests.callbacks.test_last_checkpoint import step_of
from tests.cli.test_fit import ROOT, config, refused, run, start

HOLD = """
import sys
from pathlib import Path
from lightning_embed.cli.claim import claim
claim(Path(sys.argv[1]))
print("held", flush=True)
input()
"""


@pytest.fixture
def job(teacher: Path, student: Path, pairs: Path, tmp_path: Path) -> dict[str, Any]:
    made = config(teacher, student, pairs, tmp_path / "run") | {"report": {"enabled": False}}
    made["trainer"]["max_steps"] = 1
    return made


def held(folder: Path) -> "subprocess.Popen[str]":
    """Another process that has claimed a folder, as a fit does that has not written a checkpoint yet."""
    folder.mkdir(parents=True, exist_ok=True)
    words = [sys.executable, "-c", HOLD, str(folder)]
    process = subprocess.Popen(words, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


@pytest.fixture
def other(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    process = held(tmp_path / "run")
    yield process
    process.kill()
    process.communicate()


def test_a_fit_leaves_a_folder_alone_that_another_one_has_just_taken(
    job: dict[str, Any], tmp_path: Path, other: "subprocess.Popen[str]"
) -> None:
    run(job, tmp_path)
    assert not (tmp_path / "run/checkpoints").exists() and step_of(tmp_path / "run-2/checkpoints/last.ckpt") == 1
    other.kill()
    other.wait()
    run(job, tmp_path)  # nothing was trained in the first folder
    assert step_of(tmp_path / "run/checkpoints/last.ckpt") == 1 and not (tmp_path / "run-3").exists()


def test_a_living_run_is_not_resumed_a_second_time(
    job: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(job, tmp_path)
    process = held(tmp_path / "run")
    for words in (("last",), (str(tmp_path / "run/checkpoints/last.ckpt"),)):
        said = refused(job, tmp_path, capsys, "--ckpt_path", *words, "--trainer.max_steps", "2")
        assert f"{tmp_path / 'run'}: a run is training in this folder (process {process.pid} on " in said
    process.kill()  # its lock ends with it
    process.wait()
    run(job, tmp_path, "--ckpt_path", "last", "--trainer.max_steps", "2")
    assert step_of(tmp_path / "run/checkpoints/last.ckpt") == 2 and not (tmp_path / "run" / LOCK).exists()


def test_a_lock_that_is_given_up_can_be_taken(tmp_path: Path) -> None:
    assert claim(tmp_path) is None and claim(tmp_path) is None
    release(tmp_path)
    process = held(tmp_path)
    assert str(claim(tmp_path)).startswith(f"process {process.pid} on ")
    process.communicate("\n")
    assert claim(tmp_path) is None
    release()
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_two_fits_that_start_together_have_two_folders(job: dict[str, Any], tmp_path: Path) -> None:
    job["trainer"]["max_steps"] = 8
    processes = [start(job, tmp_path) for _ in range(2)]
    outputs = [process.communicate(timeout=600)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert [step_of(tmp_path / name / "checkpoints/last.ckpt") for name in ("run", "run-2")] == [8, 8]
