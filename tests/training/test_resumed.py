"""A resumed run follows the job's settings, not those in its checkpoint's states; what cannot change is refused, what does is noted."""

import json
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import pytest
import torch

from tests.callbacks.test_last_checkpoint import step_of
from tests.cli.test_fit import config, losses, refused, run

SCHEDULE = "model.init_args.lr_scheduler"


class Rates(L.Callback):
    """Writes down the learning rate and the weight decay of each step."""

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: torch.optim.Optimizer) -> None:
        group = optimizer.param_groups[0]
        with (Path(trainer.default_root_dir) / "rates.txt").open("a") as file:
            file.write(f"{trainer.global_step} {group['lr']} {group['weight_decay']}\n")


def rates(folder: Path) -> dict[int, tuple[float, float]]:
    lines = [line.split() for line in (folder / "rates.txt").read_text().splitlines()]
    return {int(step): (float(rate), float(decay)) for step, rate, decay in lines}


@pytest.fixture
def job(teacher: Path, student: Path, pairs: Path, tmp_path: Path) -> dict[str, Any]:
    made = config(teacher, student, pairs, tmp_path / "run") | {"report": {"enabled": False}}
    made["model"]["init_args"]["losses"]["nce"] = {"loss": {"class_path": "InfoNCE", "init_args": {"temperature": 0.1}}}
    made["trainer"]["callbacks"] = [{"class_path": f"{__name__}.Rates"}]
    return made


def with_schedule(job: dict[str, Any], kind: str, **settings: Any) -> dict[str, Any]:
    arguments = job["model"]["init_args"] | {"lr_scheduler": {"class_path": kind, "init_args": settings}}
    return job | {"model": job["model"] | {"init_args": arguments}}


def elsewhere(job: dict[str, Any], folder: Path) -> dict[str, Any]:
    return job | {"trainer": job["trainer"] | {"default_root_dir": str(folder)}}


def test_more_steps_stretch_the_learning_rates_decay(job: dict[str, Any], tmp_path: Path) -> None:
    job = with_schedule(job, "WarmupSchedule", warmup_steps=2, decay="linear")
    run(job, tmp_path, "--trainer.max_steps", "8")
    run(job, tmp_path, "--trainer.max_steps", "16", "--ckpt_path", "last")
    run(elsewhere(job, tmp_path / "whole"), tmp_path, "--trainer.max_steps", "16")
    resumed, whole = rates(tmp_path / "run"), rates(tmp_path / "whole")
    assert [resumed[step] for step in range(8, 16)] == [whole[step] for step in range(8, 16)]
    assert all(rate > 0 for rate, _ in whole.values())


@pytest.mark.parametrize("schedule", [True, False])
def test_a_new_learning_rate_and_weight_decay_count_and_are_noted(
    schedule: bool, job: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if schedule:
        job = with_schedule(job, "WarmupSchedule", warmup_steps=0, decay="constant")
    run(job, tmp_path, "--trainer.max_steps", "3")
    optimizer = "--model.init_args.optimizer.init_args."
    new = (f"{optimizer}lr", "0.002", f"{optimizer}weight_decay", "0.3")
    run(job, tmp_path, "--trainer.max_steps", "5", "--ckpt_path", "last", *new)
    assert [rates(tmp_path / "run")[step] for step in (2, 3, 4)] == [(0.01, 0.01), (0.002, 0.3), (0.002, 0.3)]
    said = capsys.readouterr().err
    assert "note: optimizer: from step 3 on: lr 0.01 -> 0.002, weight_decay 0.01 -> 0.3" in said


def test_a_schedule_that_is_new_begins_at_the_runs_step(job: dict[str, Any], tmp_path: Path) -> None:
    run(job, tmp_path, "--trainer.max_steps", "3")
    new = with_schedule(job, "WarmupSchedule", warmup_steps=0, decay="linear")
    run(new, tmp_path, "--trainer.max_steps", "4", "--ckpt_path", "last")
    assert rates(tmp_path / "run")[3][0] == pytest.approx(0.01 / 4)


def test_another_librarys_schedule_goes_on_and_a_note_says_so(
    job: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kind = "torch.optim.lr_scheduler.StepLR"
    run(with_schedule(job, kind, step_size=2, gamma=0.5), tmp_path, "--trainer.max_steps", "3")
    changed = with_schedule(job, kind, step_size=2, gamma=0.1)
    run(changed, tmp_path, "--trainer.max_steps", "5", "--ckpt_path", "last")
    assert rates(tmp_path / "run")[4][0] == pytest.approx(0.0025)
    assert "StepLR goes on as in the checkpoint, so this does not count: gamma 0.1" in capsys.readouterr().err


def test_a_new_temperature_counts(job: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import pandas

    run(job, tmp_path, "--trainer.max_steps", "2")
    job["model"]["init_args"]["losses"]["nce"]["loss"]["init_args"]["temperature"] = 1e6
    run(job, tmp_path, "--trainer.max_steps", "3", "--ckpt_path", "last")
    table = pandas.read_csv(tmp_path / "run/csv/version_1/metrics.csv")
    assert table["train/nce"].dropna().tolist() == pytest.approx([2.7726], abs=1e-3)  # ln 16
    assert "loss.init_args.temperature 0.1 -> 1000000.0" in capsys.readouterr().err


def test_more_patience_counts(job: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def stopping(patience: int) -> dict[str, Any]:
        settings = {"monitor": "val/ndcg@10", "mode": "max", "patience": patience, "min_delta": 2.0}
        callback = {"class_path": "EarlyStopping", "init_args": settings}
        return job | {"trainer": job["trainer"] | {"max_steps": 24, "callbacks": [callback]}}

    run(stopping(1), tmp_path)
    assert step_of(tmp_path / "run/checkpoints/last.ckpt") == 12
    run(stopping(9), tmp_path, "--ckpt_path", "last")
    assert step_of(tmp_path / "run/checkpoints/last.ckpt") == 24
    assert "note: EarlyStopping: patience 1 -> 9" in capsys.readouterr().err


def test_a_worse_student_does_not_take_the_bests_place_where_the_folder_or_the_times_of_saving_changed(
    job: dict[str, Any], tmp_path: Path
) -> None:
    run(job, tmp_path, "--trainer.max_steps", "6")
    (tmp_path / "run").rename(tmp_path / "moved")
    home = tmp_path / "moved/checkpoints"
    ruin = ("--model.init_args.optimizer.init_args.lr", "3.0", "--checkpoint.every_n_epochs", "2")
    words = ("--ckpt_path", str(home / "last.ckpt"), "--trainer.max_steps", "18", *ruin)
    run(elsewhere(job, tmp_path / "moved"), tmp_path, *words)
    assert step_of(home / "best.ckpt") == 6 and step_of(home / "last.ckpt") == 18


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("projection", "trainable", False), "weight tensors trained, and this job trains"),
        (("optimizer", "class_path", "torch.optim.SGD"), "made with an optimizer of another kind (with "),
        (("projection", "direction", "teacher_to_student"), "the checkpoint is of another model: "),
    ],
    ids=["what trains", "optimizer", "shape"],
)
def test_what_cannot_change_is_refused_in_one_line(
    words: tuple[str, str, Any], said: str, job: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(job, tmp_path, "--trainer.max_steps", "2")
    name, key, value = words
    job["model"]["init_args"][name][key] = value
    assert said in refused(job, tmp_path, capsys, "--ckpt_path", "last")


def test_a_run_that_has_its_steps_already_says_so(
    job: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(job, tmp_path, "--trainer.max_steps", "4")
    run(job, tmp_path, "--trainer.max_steps", "3", "--ckpt_path", "last")
    assert "the checkpoint is of step 4: trainer.max_steps 3 leaves nothing to train" in capsys.readouterr().err
    assert len(losses(tmp_path / "run")) == 4


def test_the_average_takes_no_weights_of_another_step(
    job: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(job, tmp_path, "--trainer.max_steps", "4", "--average.earlier", "0.5")
    longer = ("--trainer.max_steps", "6", "--ckpt_path", "last", "--average.earlier")
    said = refused(job, tmp_path, capsys, *longer, "0.5")
    assert (
        "the weights of step 3 were expected in" in said
        and "which has those of step 2; give a later step, or 2," in said
    )
    run(job, tmp_path, *longer, "2")


def test_a_student_that_was_scored_on_other_test_pairs_is_left_out_of_the_report(
    job: dict[str, Any], pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job["report"] = {"export": False}
    run(job, tmp_path, "--trainer.max_steps", "1")
    other = tmp_path / "other.jsonl"
    other.write_text("".join(pairs.read_text().splitlines(keepends=True)[:32]))
    job["data"]["init_args"]["test"] = [{"path": str(other)}]
    run(job, tmp_path, "--trainer.max_steps", "2", "--ckpt_path", "last")
    assert "report: the test pairs or dims have changed" in capsys.readouterr().err
    report = json.loads((tmp_path / "run/report.json").read_text())
    assert [model["name"] for model in report["models"]] == ["teacher", "student after"]
