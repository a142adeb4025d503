"""What docs/training.md says of Lightning's callbacks, by its own YAML."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from tests.cli.test_fit import ROOT, config, run
from tests.evaluation.test_evaluate import sts

PAGE = (ROOT / "docs/training.md").read_text(encoding="utf-8")
BLOCKS: list[dict[str, Any]] = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.S)]


def callback(name: str) -> dict[str, Any]:
    """The block of the page whose only callback is of that class."""
    found = [b for b in BLOCKS if any(c["class_path"].endswith(name) for c in b["trainer"].get("callbacks", []))]
    assert len(found) == 1
    return found[0]


def test_stopping_early_a_moving_average_and_a_task_to_choose_by_work_together(
    teacher: Path, student: Path, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = config(teacher, student, pairs, tmp_path / "run")
    early, average, grid = (callback(name) for name in ("EarlyStopping", "EMAWeightAveraging", "TaskGrid"))
    settings = grid["trainer"]["callbacks"][0]["init_args"]
    settings |= {"tasks": [f"one={sts(tmp_path / 'one.jsonl')}", f"two={sts(tmp_path / 'two.jsonl')}"], "dims": [8, 16]}
    early["trainer"]["callbacks"][0]["init_args"]["patience"] = 1
    callbacks = [one["trainer"]["callbacks"][0] for one in (early, average, grid)]
    job["trainer"] |= early["trainer"] | {"val_check_interval": 2, "max_steps": 60, "callbacks": callbacks}
    job["checkpoint"] = {"monitor": grid["checkpoint"]["monitor"].replace("128", "16")}
    del job["trainer"]["enable_progress_bar"]
    run(job, tmp_path, "--report.enabled", "false")
    best = torch.load(tmp_path / "run/checkpoints/best.ckpt", weights_only=True)
    last = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)
    assert last["global_step"] < 60 and "current_model_state" in last
    (state,) = (one for name, one in best["callbacks"].items() if "monitor': 'grid" in name)
    assert state["monitor"] == "grid/mean/16/int8" and 0 < float(state["current_score"]) <= 1
    assert re.search(r"^step 2/60  loss \S+  mean \d+\.\d  ", capsys.readouterr().err, flags=re.M)


def test_the_page_has_a_block_for_each_logger() -> None:
    paths = [b["trainer"]["logger"][0]["class_path"] for b in BLOCKS if "logger" in b["trainer"]]
    assert paths == [f"lightning.pytorch.loggers.{name}" for name in ("WandbLogger", "MLFlowLogger")]
