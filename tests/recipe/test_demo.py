"""The demo's chain on toy models, from pretrained weights to the table, killed on the way."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.toys import WORDS, toy_folder, toy_pairs

ROOT = Path(__file__).resolve().parents[2]
STAGES = ["stage1", "long_context", "retrieval", "text_matching", "clustering", "classification"]


def write(file: Path, rows: list[dict]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def texts_with_labels(rows: int, seed: int) -> list[dict]:
    """Texts of three labels, each of which has words of its own."""
    draw = random.Random(seed)
    labels = [i % 3 for i in range(rows)]
    return [{"text": " ".join(draw.choices(WORDS[60 * n : 60 * n + 60], k=6)), "label": f"l{n}"} for n in labels]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A user's folder: pairs, scored pairs, labelled texts to be split, and labelled texts that are."""
    pairs = toy_pairs(140)
    scored = [{"sentence1": p["anchor"], "sentence2": p["positive"], "score": i % 5 / 4} for i, p in enumerate(pairs)]
    for split, own in (("train", slice(40, None)), ("test", slice(0, 40))):
        write(tmp_path / f"data/pairs/toys-{split}.jsonl", pairs[own])
        write(tmp_path / f"data/sts/toys-{split}.jsonl", scored[own])
        write(tmp_path / f"data/classification/toys-{split}.jsonl", texts_with_labels(150, own.start or 0))
    write(tmp_path / "data/clustering/toys.jsonl", texts_with_labels(300, 7))
    return tmp_path / "data"


def longer(folder: Path) -> Path:
    """A toy with rotary positions that says it has 256 of them, which the demo's long-context phase reads."""
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 256}))
    return folder


@pytest.mark.slow
def test_the_demo_trains_six_stages_is_killed_goes_on_and_ends_with_a_table(data: Path, tmp_path: Path) -> None:
    student = longer(toy_folder(tmp_path / "student", "qwen3", seed=1))
    teacher = longer(toy_folder(tmp_path / "teacher", "qwen3", hidden=48, seed=2))
    values = {
        "teacher": str(teacher),
        "student": str(student),
        "layers": None,
        "pooling": "last_token",
        "dims": [8, 32],
    }
    run = tmp_path / "run"
    words = [sys.executable, "-m", "lightning_embed", "recipe", "examples/recipe/demo.yaml", "--folder", str(run)]
    words += ["--data", str(data), "--sample", "100", "--steps", "0.02", "--values", json.dumps(values)]
    words += ["--dims", "[8, 32]", "--precisions", "[float32, binary]", "--shots", "2"]
    with (tmp_path / "told.txt").open("w") as told:
        process = subprocess.Popen(words, cwd=ROOT, start_new_session=True, stdout=told, stderr=told)
    while not (run / "retrieval/checkpoints/last.ckpt").exists():
        assert process.poll() is None, (tmp_path / "told.txt").read_text()
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    done = subprocess.run(words, cwd=ROOT, text=True, capture_output=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("done before") == 2 and "retrieval       resumes from long_context" in done.stdout
    report = json.loads((run / "report/report.json").read_text())
    assert [one["name"] for one in report["outcomes"]] == STAGES
    assert [one["stops"] for one in report["outcomes"]] == [0, 0, 1, 0, 0, 0]
    assert [one["steps"] for one in report["outcomes"]] == [5, 1, 2, 2, 2, 2]
    tasks = {task["stage"]: task["evaluation"] for task in report["tasks"]}
    assert list(tasks) == ["stage1", "retrieval", "text_matching", "clustering", "classification"]
    names = [model["name"] for model in tasks["clustering"]["models"]]
    assert names == ["long_context", "clustering", "teacher", "untouched backbone"]
    assert [(row["dim"], row["precision"]) for row in tasks["clustering"]["models"][1]["grid"]] == [
        (32, "float32"), (32, "binary"), (8, "float32"), (8, "binary"),
    ]  # fmt: skip
    assert (run / "report/report.png").stat().st_size > 10_000
    adapters = sorted(run.glob("export/long_context/adapters/*/adapter_model.safetensors"))
    assert [file.parent.name for file in adapters] == sorted(STAGES[2:])
    again = subprocess.run(words, cwd=ROOT, text=True, capture_output=True)
    assert again.returncode == 0 and again.stdout.count("done before") == 6 and "wrote" not in again.stdout
