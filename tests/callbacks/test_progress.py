"""What a run shows of itself while it trains."""

import re
from pathlib import Path

import lightning.pytorch as L
import pytest
import torch
from lightning.pytorch.callbacks import RichModelSummary, TQDMProgressBar

from lightning_embed.callbacks import progress
from lightning_embed.callbacks.model_summary import weights_lines
from lightning_embed.callbacks.progress import Pace
from lightning_embed.cli.displays import own_displays
from tests.cli.test_fit import config, run


@pytest.fixture
def job(teacher: Path, student: Path, pairs: Path, tmp_path: Path) -> dict:
    job = config(teacher, student, pairs, tmp_path / "run")
    job["model"]["init_args"]["losses"]["nce"] = {"loss": "InfoNCE"}
    del job["trainer"]["enable_progress_bar"]
    return job


def steps(err: str) -> list[str]:
    return [line for line in err.splitlines() if line.startswith("step ")]


def test_a_log_has_a_line_at_the_first_step_each_validation_and_the_last_step(
    job: dict, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job["trainer"] |= {"max_steps": 7, "val_check_interval": 3, "check_val_every_n_epoch": None}
    run(job, tmp_path, "--report.enabled", "false")
    out, err = capsys.readouterr()
    found = steps(err)
    assert [line.split()[1] for line in found] == ["1/7", "3/7", "6/7", "7/7"]
    assert re.fullmatch(r"step 1/7  loss [\d.]+  [\d,]+ rows/s", found[0])
    for line in found[1:3]:
        assert re.fullmatch(r"step \d/7  loss [\d.]+  nDCG@10 \d+\.\d  [\d,]+ rows/s  \d+:\d\d left", line)
    assert "left" not in found[3] and "nDCG@10" in found[3]
    order = ["preparing the data", "fitting the projection", "step 1/7"]
    assert sorted(order, key=err.index) == order
    for noise in ("FLOPs", "v_num", "weights_only", "Epoch"):
        assert noise not in out + err


def test_a_line_is_printed_every_so_many_seconds(job: dict, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job["data"]["init_args"]["validation"] = []
    job["trainer"]["callbacks"] = [{"class_path": "lightning_embed.StepProgress", "init_args": {"every": 1e-9}}]
    run(job, tmp_path, "--report.enabled", "false")
    assert [line.split()[1] for line in steps(capsys.readouterr().err)] == ["1/4", "2/4", "3/4", "4/4"]


def test_the_scoring_of_the_student_before_training_is_shown(
    job: dict, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(job, tmp_path, "--report.export", "false")
    err = capsys.readouterr().err
    assert err.index("scoring the student") < err.index("step 1/4") < err.index("scoring the teacher")


@pytest.mark.parametrize("callbacks", [[TQDMProgressBar(), RichModelSummary()], TQDMProgressBar()])
def test_a_bar_of_the_users_replaces_ours(callbacks: list[L.Callback] | L.Callback) -> None:
    settings = {"callbacks": callbacks, "enable_progress_bar": None, "enable_model_summary": None}
    ours = [type(one).__name__ for one in own_displays(settings)]
    assert ours == ([] if isinstance(callbacks, list) else ["WeightsSummary"])
    off = {"callbacks": None, "enable_progress_bar": False, "enable_model_summary": False}
    assert own_displays(off) == []


def test_a_run_with_tqdm_has_no_line_of_ours(job: dict, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job["trainer"]["callbacks"] = [{"class_path": "lightning.pytorch.callbacks.TQDMProgressBar"}]
    job["trainer"]["max_steps"] = 2
    run(job, tmp_path, "--report.enabled", "false")
    out, err = capsys.readouterr()
    assert steps(err) == [] and "Epoch 0" in out + err


def test_the_weights_that_train_are_counted() -> None:
    module = L.LightningModule()
    module.student, module.losses, module.metric = torch.nn.Linear(3, 2), torch.nn.Module(), torch.nn.Identity()
    module.losses.scale = torch.nn.Parameter(torch.ones(()))
    module.student.bias.requires_grad_(False)
    assert weights_lines(module) == [
        "student (Linear): 8 weights, 6 of them train",
        "losses: 1 weight, all of them train",
    ]


def test_rows_a_second_leave_validation_out_and_the_time_left_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    pace = Pace(step=10)
    assert pace.rows_per_second() is None and pace.seconds_to(20) is None
    pace.start()
    for step in (11, 12, 13):
        now[0] += 100 if step == 11 else 2  # the first step compiles
        pace.add(16, step)
    pace.pause()
    now[0] += 6
    pace.resume()
    assert pace.rows_per_second() == pytest.approx(48 / 104)
    assert pace.seconds_to(20) == pytest.approx(7 * 10 / 2)
