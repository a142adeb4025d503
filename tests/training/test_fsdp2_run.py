"""A whole run under FSDP2, as a user types it: validation, exports in mid-run and at the end, the report, going on."""

import json
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import pytest
import torch

from lightning_embed.export.folder import export_encoder
from tests.cli.test_fit import config, losses, run, start
from tests.toys import toy_folder

pytestmark = pytest.mark.slow


class ExportAt(L.Callback):
    """Exports the student after each validation."""

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        export_encoder(pl_module.student, Path(trainer.default_root_dir) / f"at-{trainer.global_step}")


def logged(folder: Path, column: str) -> list[float]:
    import pandas

    parts = [pandas.read_csv(f) for f in sorted(folder.glob("csv/*/metrics.csv"))]
    return [float(v) for v in pandas.concat(parts)[column].dropna()]


@pytest.mark.parametrize(
    ("strategy", "precision"), [({}, "32-true"), ({"replicate": 2}, "32-true"), ({}, "bf16-mixed")]
)
def test_a_run_leaves_what_one_on_one_device_leaves(
    strategy: dict, precision: str, teacher: Path, pairs: Path, tmp_path: Path
) -> None:
    student = toy_folder(tmp_path / "student", "qwen3")
    job = config(teacher, student, pairs, tmp_path / "run")
    job["model"]["init_args"]["student"] |= {"pooling": "last_token", "export_rope_theta": 1e6}
    job["model"]["init_args"]["losses"]["nce"] = {
        "loss": {"class_path": "InfoNCE", "init_args": {"temperature": 0.1, "learnable_temperature": True}}
    }
    job["trainer"] |= {"max_steps": 6, "val_check_interval": 3, "num_sanity_val_steps": 0, "precision": precision}
    job["model"]["init_args"]["optimizer"]["init_args"]["lr"] = 0.001  # larger steps soon amplify what bf16 rounds
    job["trainer"] |= {
        "callbacks": [{"class_path": "tests.training.test_fsdp2_run.ExportAt"}],
        "gradient_clip_val": 1.0,
    }
    alone = job | {"trainer": job["trainer"] | {"default_root_dir": str(tmp_path / "alone")}}
    run(alone, tmp_path)
    job["trainer"] |= {"devices": 4 if strategy else 2, "strategy": {"class_path": "FSDP2", "init_args": strategy}}
    output, _ = start(job, tmp_path).communicate(timeout=600)
    bound = 5e-2 if precision == "bf16-mixed" else 1e-4
    assert losses(tmp_path / "run") == pytest.approx(losses(tmp_path / "alone"), rel=bound), output[-3000:]
    scores = [logged(tmp_path / name, "val/ndcg@10") for name in ("run", "alone")]
    assert scores[0] == pytest.approx(scores[1], abs=bound) and len(scores[0]) == 2
    reports = [json.loads((tmp_path / name / "report.json").read_text()) for name in ("run", "alone")]
    for one, other in zip(*(report["models"] for report in reports), strict=True):
        assert one["grid"][0]["scores"]["ndcg@10"] == pytest.approx(other["grid"][0]["scores"]["ndcg@10"], abs=bound)
    assert "least cosine" in output and "rope_theta 1e+06" in output
    from lightning_embed.encoders.text_encoder import TextEncoder

    for name in ("at-3", "at-6", "model"):
        found, wanted = (TextEncoder(str(tmp_path / one / name)) for one in ("run", "alone"))
        assert found.config.rope_parameters["rope_theta"] == 1e6
        for p, q in zip(found.backbone.parameters(), wanted.backbone.parameters(), strict=True):
            torch.testing.assert_close(p, q, rtol=0, atol=20 * bound)
    best, last = ((tmp_path / f"run/checkpoints/{name}.ckpt") for name in ("best", "last"))
    assert best.is_file() and last.is_file()
    run(job | {"trainer": alone["trainer"]}, tmp_path, "--ckpt_path", str(last), command="test")


def test_other_strategies_and_a_shared_teacher_are_refused_in_one_line(
    teacher: Path, student: Path, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = config(teacher, student, pairs, tmp_path / "run")
    for words, said in (
        (("--trainer.strategy", "fsdp"), "take fsdp2"),
        (("--trainer.strategy", "deepspeed"), "take fsdp2"),
        (("--trainer.precision", "bf16-true"), "take bf16-mixed"),
        (("--model.init_args.teacher.shard", "true"), "teacher: shard: true needs --trainer.strategy fsdp2"),
    ):
        with pytest.raises(SystemExit) as stop:
            run(job, tmp_path, *words)
        errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
        assert stop.value.code == 2 and len(errors) == 1 and said in errors[0]
