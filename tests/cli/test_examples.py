"""The examples that train on texts and on translations."""

import json
from pathlib import Path

import pytest
import yaml

from tests.commands import run, run_words
from tests.toys import toy_pairs

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("example", ["teacher_space", "other_language"])
def test_an_example_trains_into_its_teachers_space(example: str, teacher: Path, tmp_path: Path) -> None:
    job = yaml.safe_load((ROOT / f"examples/{example}.yaml").read_text())
    parts = job["model"]["init_args"]
    for part in (parts["teacher"], parts["student"]):
        part |= {"model": str(teacher), "max_length": 20}
    parts["student"]["layers"] = [0]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in toy_pairs(200)))
    words = ("--data.train", str(file), "--trainer.default_root_dir", str(tmp_path / "run"))
    run(
        "fit",
        job,
        tmp_path,
        *words,
        "--data.global_batch_size",
        "32",
        "--trainer.max_steps",
        "3",
        "--report.enabled",
        "false",
    )
    run_words("export", str(tmp_path / "run/checkpoints/last.ckpt"), str(tmp_path / "out"), "--space", "teacher")
    assert "Its vectors are in the space of its teacher" in (tmp_path / "out/README.md").read_text()
