"""The end of a run: which weights it is of, what must hold, and no exported model that differs from the student."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_embed import TextEncoder
from tests.cli.test_fit import config, refused, run, start

Job = dict[str, Any]


@pytest.fixture
def job(teacher: Path, student: Path, pairs: Path, tmp_path: Path) -> Job:
    return config(teacher, student, pairs, tmp_path / "run")


class LastHalf(TextEncoder):
    """Pools as no stock module does."""

    def pool(self, hidden: Tensor, lengths: Tensor) -> Tensor:
        return super().pool(hidden, lengths).roll(1, dims=-1)


def test_a_pooling_of_ones_own_is_found_out_without_any_held_out_data(
    job: Job, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job["data"]["init_args"] |= {"validation": None, "test": None}
    job["model"]["init_args"]["student"] = {
        "class_path": "tests.callbacks.test_report.LastHalf", "init_args": job["model"]["init_args"]["student"]
    }  # fmt: skip
    said = refused(job, tmp_path, capsys)
    assert "model: the exported model's vectors differ from the encoder's" in said
    assert not (tmp_path / "run/model").exists()
    assert "FAILED: " in (tmp_path / "run/report.md").read_text().splitlines()[2]
    assert (tmp_path / "run/checkpoints/last.ckpt").exists()


def test_a_run_without_held_out_data_proves_its_export_too(job: Job, tmp_path: Path) -> None:
    job["data"]["init_args"] |= {"validation": None, "test": None}
    run(job, tmp_path, "--trainer.max_steps", "1")
    assert "least cosine 1.0" in (tmp_path / "run/report.md").read_text()


def best_is_early(job: Job) -> Job:
    """A learning rate at which the first validation is the best."""
    job["model"]["init_args"]["optimizer"]["init_args"]["lr"] = 0.3
    job["model"]["init_args"]["losses"] = {"nce": {"loss": "InfoNCE"}}
    job["model"]["init_args"]["projection"] = None
    job["trainer"] |= {"max_steps": 6, "val_check_interval": 1, "check_val_every_n_epoch": None}
    return job


def test_the_report_and_the_model_are_of_the_weights_that_are_asked_for(job: Job, tmp_path: Path) -> None:
    run(best_is_early(job), tmp_path, "--report.weights", "best")
    report = json.loads((tmp_path / "run/report.json").read_text())
    best = torch.load(tmp_path / "run/checkpoints/best.ckpt", weights_only=True)
    last = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)
    assert best["global_step"] < 6 == last["global_step"]
    assert f"of the weights at step {best['global_step']}." in " ".join(report["notes"])
    state = next(value for key, value in best["callbacks"].items() if key.startswith("ModelCheckpoint"))
    full = report["models"][-1]["grid"][0]["scores"]["ndcg@10"]  # test rows and validation rows are the same here
    assert full == pytest.approx(float(state["best_model_score"]), abs=1e-5)
    exported, kept = (TextEncoder(str(tmp_path / "run/model")).state_dict(), best["state_dict"])
    assert all(torch.equal(value, kept[f"student.{name}"]) for name, value in exported.items())


def test_the_report_of_the_last_weights_says_where_the_best_are(job: Job, tmp_path: Path) -> None:
    run(best_is_early(job), tmp_path, "--report.export", "false")
    notes = " ".join(json.loads((tmp_path / "run/report.json").read_text())["notes"])
    assert (
        "of the weights at step 6; best.ckpt is of step" in notes and "report.weights: best takes it instead" in notes
    )


def test_the_best_weights_need_a_validation(job: Job, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job["data"]["init_args"]["validation"] = None
    assert "report.weights: best needs data.validation" in refused(job, tmp_path, capsys, "--report.weights", "best")
    assert "report.weights" in refused(job, tmp_path, capsys, "--report.weights", "good")


def exit_of(job: Job, tmp_path: Path, *words: str) -> Any:
    with pytest.raises(SystemExit) as stop:
        run(job, tmp_path, *words)
    return stop.value.code


def test_a_gate_that_does_not_hold_ends_with_code_3_and_everything_written(
    job: Job, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    require = "{of_teacher: 5.0, above_start: 2.0, int8_of_float: 0.5, score/missing: 0.1, export_cosine: 0.999}"
    assert exit_of(job, tmp_path, "--report.require", require) == 3
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert "of_teacher is" in line and "above_start is" in line and "score/missing was not measured" in line
    assert "int8" not in line and "export_cosine" not in line
    page = (tmp_path / "run/report.md").read_text().splitlines()
    assert page[2].startswith("**FAILED: of_teacher is") and (tmp_path / "run/model/modules.json").exists()


def test_gates_that_hold_are_silent(job: Job, tmp_path: Path) -> None:
    run(
        job,
        tmp_path,
        "--report.require",
        "{of_teacher: 0.01, above_start: -1, 16_of_full: 0.1}",
        "--report.dims",
        "[32,16]",
        "--report.export",
        "false",
    )
    assert json.loads((tmp_path / "run/report.json").read_text())["failures"] == []


def test_an_unknown_gate_is_refused_before_training(
    job: Job, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "there is no gate 'of_techer'" in refused(job, tmp_path, capsys, "--report.require", "{of_techer: 0.9}")
    assert not (tmp_path / "run/checkpoints").exists()


@pytest.mark.slow
def test_two_ranks_end_with_code_3_too(job: Job, tmp_path: Path) -> None:
    job["trainer"] |= {"devices": 2, "strategy": "ddp"}
    process = start(job, tmp_path, "--report.require", "{of_teacher: 5.0}", "--report.export", "false")
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 3 and said.count("error: ") == 1, said[-2000:]
