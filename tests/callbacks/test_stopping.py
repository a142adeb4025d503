"""A run that is stopped, or that fails, keeps its last whole step and says how to resume."""

import resource
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lightning_embed.callbacks import interrupt
from tests.callbacks.test_last_checkpoint import step_of
from tests.cli.test_fit import config, losses, refused, run

HOW = "resume with the same command and --ckpt_path last"


@pytest.fixture
def job(teacher: Path, student: Path, pairs: Path, tmp_path: Path) -> dict[str, Any]:
    """10 steps, 6 an epoch, and nothing that writes a checkpoint on the way."""
    made = config(teacher, student, pairs, tmp_path / "run") | {"report": {"enabled": False}}
    made["model"]["init_args"]["losses"]["nce"] = {"loss": "InfoNCE"}
    made["data"]["init_args"]["validation"] = []
    made["trainer"] |= {"max_steps": 10, "limit_train_batches": 6}
    return made


@pytest.fixture
def last(tmp_path: Path) -> Path:
    return tmp_path / "run/checkpoints/last.ckpt"


@pytest.fixture(autouse=True)
def file_size() -> Iterator[None]:
    """Files may be as large as before again."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def accident(job: dict[str, Any], kind: str, **settings: Any) -> dict[str, Any]:
    callbacks = [{"class_path": f"tests.accidents.{kind}", "init_args": settings}]
    return job | {"trainer": job["trainer"] | {"callbacks": callbacks}}


def ends_as_one_never_stopped(job: dict[str, Any], tmp_path: Path) -> None:
    whole = job | {"trainer": job["trainer"] | {"default_root_dir": str(tmp_path / "whole")}}
    run(whole, tmp_path)
    run(job, tmp_path, "--ckpt_path", "last")
    made, right = losses(tmp_path / "run"), losses(tmp_path / "whole")
    assert made[-4:] == pytest.approx(right[-4:], rel=1e-4) and len(right) - len(made) in (
        0,
        1,
    )  # an error's step is not logged


@pytest.mark.parametrize(
    ("name", "code"),
    [
        pytest.param("SIGINT", 130, marks=pytest.mark.slow),
        ("SIGTERM", 143),
        pytest.param("SIGHUP", 129, marks=pytest.mark.slow),
    ],
)
def test_a_signal_finishes_the_step_and_saves_it(
    name: str, code: int, job: dict[str, Any], tmp_path: Path, last: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    with pytest.raises(SystemExit) as stop:
        run(accident(job, "SignalAt", step=4, name=name), tmp_path)
    by = "Ctrl-C" if name == "SIGINT" else name
    assert stop.value.code == code and step_of(last) == 4
    assert f"stopped by {by}: {last} is of step 4: {HOW}" in capsys.readouterr().out
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == handlers
    ends_as_one_never_stopped(job, tmp_path)


def test_a_signal_during_the_last_step_is_not_lost(job: dict[str, Any], tmp_path: Path, last: Path) -> None:
    with pytest.raises(SystemExit) as stop:
        run(accident(job, "SignalAt", step=10), tmp_path)
    assert stop.value.code == 143 and step_of(last) == 10


def test_a_validation_is_cut_short(job: dict[str, Any], tmp_path: Path, last: Path) -> None:
    job["data"]["init_args"]["validation"] = job["data"]["init_args"]["train"]
    with pytest.raises(SystemExit) as stop:
        run(accident(job, "SignalAt", step=6, in_validation=True), tmp_path)
    assert stop.value.code == 143 and step_of(last) == 6 and not last.with_name("best.ckpt").exists()


def test_a_second_ctrl_c_stops_at_once(
    job: dict[str, Any], tmp_path: Path, last: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interrupt, "TWICE", 0.0)
    twice = accident(job, "SignalAt", step=4, name="SIGINT")
    twice["trainer"]["callbacks"] *= 2
    with pytest.raises(SystemExit) as stop:
        run(twice, tmp_path)
    assert stop.value.code == 130 and not last.exists()


def test_ctrl_c_that_comes_twice_at_once_counts_once(job: dict[str, Any], tmp_path: Path, last: Path) -> None:
    """A terminal sends it to all processes of a command, and a parent passes it on."""
    twice = accident(job, "SignalAt", step=4, name="SIGINT")
    twice["trainer"]["callbacks"] *= 2
    with pytest.raises(SystemExit) as stop:
        run(twice, tmp_path)
    assert stop.value.code == 130 and step_of(last) == 4


def test_sigterm_ends_a_test_too(job: dict[str, Any], tmp_path: Path) -> None:
    run(job, tmp_path, "--trainer.max_steps", "1")
    del job["report"]
    checkpoint = str(tmp_path / "run/checkpoints/last.ckpt")
    with pytest.raises(SystemExit) as stop:
        run(accident(job, "SignalInTest"), tmp_path, "--ckpt_path", checkpoint, command="test")
    assert stop.value.code == 143


@pytest.mark.parametrize("where", ["forward", "end"])
def test_an_error_in_a_users_code_shows_its_traceback_and_the_last_whole_step_is_saved(
    where: str, job: dict[str, Any], tmp_path: Path, last: Path
) -> None:
    with pytest.raises(ZeroDivisionError) as error:
        run(accident(job, "FailAt", step=5, where=where), tmp_path)
    assert error.value.__notes__ == [f"{last} is of step 5: {HOW}"] and step_of(last) == 5
    ends_as_one_never_stopped(job, tmp_path)


def test_weights_that_are_half_updated_are_not_saved(job: dict[str, Any], tmp_path: Path, last: Path) -> None:
    job["model"]["init_args"]["optimizer"]["class_path"] = "tests.accidents.FailingAdamW"
    with pytest.raises(ZeroDivisionError) as error:
        run(job, tmp_path, "--last_checkpoint.every_n_steps", "2")
    assert error.value.__notes__ == [f"{last} is of step 4: {HOW}"] and step_of(last) == 4


@pytest.mark.slow
def test_a_data_loaders_killed_process_costs_no_step_and_is_one_line(
    job: dict[str, Any], tmp_path: Path, last: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job["data"]["init_args"]["num_workers"] = 1
    job["trainer"]["max_steps"] = 40
    error = refused(accident(job, "KillWorkers", step=5), tmp_path, capsys)
    assert error.startswith("error: a data loader's worker process ") and "memory runs out" in error
    done = step_of(last)
    assert done >= 5 and error.endswith(f"; {last} is of step {done}: {HOW}")
    ends_as_one_never_stopped(job, tmp_path)


def test_a_disk_that_fills_up_leaves_the_checkpoint_before(
    job: dict[str, Any], tmp_path: Path, last: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    error = refused(accident(job, "SmallFiles", step=7), tmp_path, capsys, "--last_checkpoint.every_n_steps", "4")
    said = f"step 8 could not be saved ([Errno 27] File too large); {last} is of step 6: {HOW}"
    assert error.startswith("error: File too large") and error.endswith(said)
    assert step_of(last) == 6 and [file.name for file in last.parent.iterdir()] == ["last.ckpt"]


def test_a_loss_that_is_not_finite_leaves_the_checkpoint_before(
    job: dict[str, Any], tmp_path: Path, last: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job["model"]["init_args"]["lr_scheduler"] = {"class_path": "tests.accidents.Explode"}
    error = refused(job, tmp_path, capsys)
    assert "the loss is not finite" in error and error.endswith(f"{last} is of step 6: {HOW}")
    assert step_of(last) == 6
