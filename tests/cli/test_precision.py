"""`trainer.precision`: chosen by what this machine computes faster, kept by a run that resumes, and usable with a fused optimizer."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml

from lightning_embed import EmbeddingModule, TextEncoder
from lightning_embed.losses import InfoNCE, LossTerm
from lightning_embed.training import precision
from lightning_embed.utils import notes
from tests.cli.test_fit import config, losses, run

STUDENT = "model.init_args.student"


@pytest.fixture
def job(teacher: Path, student: Path, pairs: Path, tmp_path: Path) -> dict[str, Any]:
    made = config(teacher, student, pairs, tmp_path / "run")
    made["report"] = {"enabled": False}
    del made["data"]["init_args"]["validation"], made["data"]["init_args"]["test"]
    return made


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Lets the CPU be as many times as fast in bfloat16 as a test says."""
    monkeypatch.setattr(notes, "_NOTED", set())
    monkeypatch.setattr(precision, "SMALL", 0)

    def set_gain(gain: float) -> None:
        monkeypatch.setattr(precision, "bf16_gain", lambda width, inner: gain)

    return set_gain


def trained_in(folder: Path) -> tuple[str, str]:
    """The precision that a run's config.yaml and its checkpoint name."""
    kept = torch.load(folder / "checkpoints/last.ckpt", weights_only=True)["lightning_embed"]["precision"]
    return yaml.safe_load((folder / "config.yaml").read_text())["trainer"]["precision"], kept


@pytest.mark.parametrize(("gain", "chosen"), [(1.7, "bf16-mixed"), (1.05, "32-true"), (0.3, "32-true")])
def test_a_run_on_a_cpu_takes_bf16_where_it_is_faster(
    gain: float, chosen: str, job: dict, tmp_path: Path, measured: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    measured(gain)
    run(job, tmp_path)
    assert trained_in(tmp_path / "run") == (chosen, chosen)
    assert f"note: trainer.precision auto: {chosen} (bfloat16 takes {1 / gain:.2g} times" in (capsys.readouterr().err)


@pytest.mark.parametrize("chosen", ["32-true", "bf16-mixed"])
def test_a_resumed_run_keeps_the_precision_that_it_began_with(
    chosen: str, job: dict, tmp_path: Path, measured: Any
) -> None:
    began, differs = (1.7, 0.5) if chosen == "bf16-mixed" else (0.5, 1.7)
    measured(began)
    run(job, tmp_path)
    measured(differs)
    run(job, tmp_path, "--trainer.max_steps", "6", "--ckpt_path", "last")
    assert trained_in(tmp_path / "run") == (chosen, chosen)


def test_a_precision_that_is_given_is_taken(job: dict, tmp_path: Path, measured: Any) -> None:
    measured(1.7)
    run(job, tmp_path, "--trainer.precision", "32-true")
    assert trained_in(tmp_path / "run") == ("32-true", "32-true")


def test_auto_may_be_written_out(job: dict, tmp_path: Path, measured: Any) -> None:
    measured(1.7)
    job["trainer"]["precision"] = "auto"
    run(job, tmp_path)
    assert trained_in(tmp_path / "run")[0] == "bf16-mixed"


def test_bf16_clips_under_a_fused_optimizer_as_under_a_plain_one(job: dict, tmp_path: Path) -> None:
    optimizer = job["model"]["init_args"]["optimizer"]["init_args"]
    job["trainer"] |= {"gradient_clip_val": 0.01, "precision": "bf16-mixed"}
    found = []
    for fused in (True, False):
        optimizer["fused"] = fused
        job["trainer"]["default_root_dir"] = str(tmp_path / f"run-{fused}")
        run(job, tmp_path)
        found.append(losses(tmp_path / f"run-{fused}"))
    assert found[0] == pytest.approx(found[1], rel=1e-3)


@pytest.mark.parametrize(
    ("cuda", "bf16", "accelerator", "devices", "chosen"),
    [
        (True, True, "auto", 8, "bf16-mixed"),
        (True, False, "auto", 1, "32-true"),
        (True, True, "cpu", 1, "32-true"),
        (False, False, "cpu", 2, "32-true"),
    ],
)
def test_what_other_machines_train_in(
    cuda: bool,
    bf16: bool,
    accelerator: str,
    devices: int,
    chosen: str,
    student: Path,
    measured: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    measured(1.0 if accelerator == "cpu" and devices == 1 else 9.0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: bf16)
    assert precision.auto_precision(TextEncoder(str(student)), accelerator, devices) == chosen


def test_the_measurement_is_a_ratio_of_two_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "cpu_has_bf16", lambda: True)
    assert 0.002 < precision.bf16_gain.__wrapped__(128, 512) < 100
    monkeypatch.setattr(precision, "cpu_has_bf16", lambda: False)
    assert precision.bf16_gain.__wrapped__(128, 512) == 0


@pytest.mark.parametrize(("asked", "noted"), [("bf16-mixed", True), ("32-true", False)])
def test_bf16_on_a_cpu_that_is_slower_by_it_gets_a_note(
    student: Path, asked: str, noted: bool, measured: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    measured(0.25)
    module: Any = EmbeddingModule(TextEncoder(str(student)), {"nce": LossTerm(InfoNCE())})
    module._trainer = SimpleNamespace(
        precision=asked, strategy=SimpleNamespace(root_device=torch.device("cpu")), world_size=1
    )
    module.setup("fit")
    assert ("bf16-mixed: bfloat16 takes 4 times as long" in capsys.readouterr().err) == noted
