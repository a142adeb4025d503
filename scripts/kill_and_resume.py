"""Kills and stops training runs again and again and shows that their steps are those of runs that were left alone.

    python -m scripts.kill_and_resume --kills 200

A server that has imported everything forks a run, with the checkpoints that every run has; SIGKILL hits it, its ranks and its workers, or
SIGTERM or Ctrl-C one rank and its workers, at a random moment after a random number of steps; it resumes with `--ckpt_path last` and
another number of workers (0, 1, 2) and ranks (1, 2). A callback writes down, after each step, which rows it was of. Every step must have
been of the same rows as in the whole run, repeated steps too, and none may be missing; where the number of ranks stays the same, so must
the losses, and the score of best.ckpt. last.ckpt must end with the last step, and a signal other than SIGKILL may cost no step.
"""

import argparse
import json
import random
import signal
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.forked_runs import prepare, start, steps_of, wait

MOST = 7
"""Kills of one run."""


@dataclass(frozen=True)
class Trial:
    """A kind of run to kill."""

    name: str
    trainer: dict[str, Any]
    last: dict[str, Any]
    """Settings of `last_checkpoint`; those of `checkpoint` are the defaults."""
    worlds: tuple[int, ...] = (1, 1, 2)


TRIALS = (
    Trial("the defaults, validated twice an epoch", {"max_steps": 60, "val_check_interval": 0.5}, {}),
    Trial(
        "gradients of three batches, by epochs, one rank",
        {"max_epochs": 3, "accumulate_grad_batches": 3, "val_check_interval": 4},
        {"every_n_steps": 1},
        (1,),
    ),
    Trial(
        "after each validation in mid-epoch, and every third step",
        {"max_steps": 60, "val_check_interval": 7},
        {"every_n_steps": 3},
    ),
    Trial(
        "part of an epoch each, one rank",
        {"max_steps": 50, "limit_train_batches": 10, "check_val_every_n_epoch": 2},
        {"every_n_steps": 4},
        (1,),
    ),
)
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


def write_inputs(folder: Path) -> None:
    """Toy models and three sources: pairs, pairs of which many are alike, texts with labels.

    Args:
        folder: Where.
    """
    from tests.toys import toy_folder, toy_pairs

    toy_folder(folder / "teacher", hidden=48, seed=1)
    toy_folder(folder / "student", hidden=32, seed=2)
    rows = {
        "pairs": toy_pairs(90),
        "alike": [pair | {"anchor": f"w{i % 13}"} for i, pair in enumerate(toy_pairs(47))],
        "classes": [{"text": f"w{i} w{i % 4}", "label": f"class {i % 4}"} for i in range(37)],
        "validation": toy_pairs(16),
    }
    for name, lines in rows.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lines))


def config(folder: Path, run: Path, trial: Trial, world: int, workers: int) -> dict[str, Any]:
    """The job.

    Args:
        folder: The inputs.
        run: The run's folder.
        trial: The kind of run.
        world: Ranks.
        workers: Workers of each loader.
    """
    sources = [
        {"path": str(folder / "pairs.jsonl"), "batch_size": 8, "weight": 2.0},
        {"path": str(folder / "alike.jsonl"), "batch_size": 5},
        {"path": str(folder / "classes.jsonl"), "batch_size": 6, "negatives": 2},
    ]
    return {
        "seed_everything": 1,
        "model": {
            "class_path": "EmbeddingModule",
            "init_args": {
                "teacher": {"model": str(folder / "teacher")},
                "student": {"model": str(folder / "student"), "dropout": 0.0},
                "projection": {},
                "losses": {"distill": {"loss": "Distillation"}, "nce": {"loss": "InfoNCE", "weight": 0.5}},
                "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.003}},
                "lr_scheduler": {"class_path": "WarmupSchedule", "init_args": {"warmup_steps": 5, "decay": "linear"}},
            },
        },
        "data": {
            "class_path": "EmbeddingDataModule",
            "init_args": {
                "train": sources,
                "validation": [{"path": str(folder / "validation.jsonl")}],
                "mixture": "weight",
                "no_duplicates": True,
                "num_workers": workers,
                "seed": 5,
            },
        },
        "trainer": {
            "accelerator": "cpu",
            "devices": world,
            "strategy": "ddp" if world > 1 else "auto",
            "default_root_dir": str(run),
            "enable_progress_bar": False,
            "logger": False,
            "num_sanity_val_steps": 0,
            "callbacks": [{"class_path": "scripts.forked_runs.Record",
                           "init_args": {"path": str(run / "steps")}}],
            **trial.trainer,
        },
        "last_checkpoint": trial.last,
        "report": {"enabled": False},
    }  # fmt: skip


def compare(whole: list[dict[str, Any]], killed: list[dict[str, Any]], with_losses: bool) -> int:
    """Checks a killed run's steps against those of the whole one; how many were repeated.

    Args:
        whole: The steps of a run on one rank that was never killed.
        killed: Those of one that was.
        with_losses: Whether the losses must be equal too.

    Raises:
        AssertionError: If they differ.
    """
    expected = {line["step"]: line for line in whole}
    parts: dict[tuple[str, int], list[dict[str, Any]]] = defaultdict(list)
    for line in killed:
        parts[line["segment"], line["step"]].append(line)
    done: set[int] = set()
    for (segment, step), lines in parts.items():
        rows = sorted(row for line in lines for row in line["rows"])
        right = expected[step]
        assert all(line["source"] == right["source"] for line in lines), f"{segment}, step {step}: another source"
        if len(lines) == lines[0]["world"]:
            assert rows == right["rows"], f"{segment}, step {step}: rows {rows} instead of {right['rows']}"
            done.add(step)
        else:  # a rank was killed before it could write
            assert set(rows) <= set(right["rows"]), f"{segment}, step {step}: rows {rows} not of {right['rows']}"
        if with_losses:
            loss = lines[0]["loss"]
            near = abs(loss - right["loss"]) <= 1e-5 + 1e-4 * abs(right["loss"])
            assert near, f"{segment}, step {step}: loss {loss} instead of {right['loss']}"
    assert done == set(expected), f"steps {sorted(set(expected) ^ done)} are missing or too many"
    return len(parts) - len(done)


def checkpoint(run: Path, name: str) -> dict[str, Any]:
    """A checkpoint's content.

    Args:
        run: The run's folder.
        name: `last` or `best`.
    """
    import torch

    content: dict[str, Any] = torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True)
    return content


def best_score(run: Path) -> float:
    """The score of best.ckpt.

    Args:
        run: The run's folder.
    """
    states = checkpoint(run, "best")["callbacks"]
    return next(float(state["best_model_score"]) for key, state in states.items() if key.startswith("ModelCheckpoint"))


def compare_checkpoints(whole: Path, killed: Path, with_scores: bool) -> None:
    """Checks what a killed run leaves.

    Args:
        whole: The folder of the run that was never killed.
        killed: That of the one that was.
        with_scores: Whether the best score must be equal.

    Raises:
        AssertionError: If it differs.
    """
    last, right = (checkpoint(run, "last")["global_step"] for run in (killed, whole))
    assert last == right, f"last.ckpt is of step {last} instead of {right}"
    if with_scores:
        found, wanted = best_score(killed), best_score(whole)
        assert abs(found - wanted) < 1e-3, f"best.ckpt has a score of {found} instead of {wanted}"


def one(folder: Path, trial: Trial, seed: int, kills: int) -> tuple[int, int]:
    """Kills a run up to `kills` times, lets it end, and compares it; how often it was killed, and how many steps were repeated.

    Args:
        folder: The inputs.
        trial: The kind of run.
        seed: Which random moments.
        kills: The most kills.
    """
    whole = folder / "whole" / str(TRIALS.index(trial))
    if not whole.exists():
        wait(whole, start(whole, config(folder, whole, trial, 1, 0), 1, "whole"), None)
    dice, run, killed = random.Random(seed), folder / f"killed-{seed}", 0
    while True:
        world, workers = dice.choice(trial.worlds), dice.choice((0, 1, 2))
        segment = f"part {killed} ({world} ranks, {workers} workers)"
        ranks = start(run, config(folder, run, trial, world, workers), world, segment)
        patience = dice.choice((1, 2, 3, 5, 8, 13)) if killed < kills else None
        number, lag = dice.choice(SIGNALS), dice.choice((0, 0, dice.random() * 0.05))
        if not wait(run, ranks, patience, lag, number, dice.randrange(world)):
            break
        killed += 1
        if number != signal.SIGKILL:
            done, saved = steps_done(run), checkpoint(run, "last")["EmbeddingDataModule"]["step"]
            part = (
                trial.trainer.get("accumulate_grad_batches", 1) - 1
            )  # a validation may be stopped between the batches of a step
            assert 0 <= done - saved <= part, f"{segment}: {done} batches were done, and last.ckpt is of {saved}"
    repeated = compare(steps_of(whole), steps_of(run), with_losses=trial.worlds == (1,))
    compare_checkpoints(whole, run, with_scores=trial.worlds == (1,))
    return killed, repeated


def steps_done(run: Path) -> int:
    """Batches that the latest part of a run got to, up to the last whole step.

    Args:
        run: The run's folder.
    """
    lines = steps_of(run)
    latest = max(int(line["segment"].split()[1]) for line in lines)
    return int(max(line["step"] for line in lines if line["segment"].split()[1] == str(latest)) + 1)


def main() -> None:
    """Kills runs until there were enough kills."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    began, kills, seed = time.monotonic(), 0, given.seed
    with tempfile.TemporaryDirectory() as scratch:
        prepare(lambda: write_inputs(Path(scratch)), Path(scratch) / "log")
        while kills < given.kills:
            trial = TRIALS[seed % len(TRIALS)]
            killed, repeated = one(Path(scratch), trial, seed, min(MOST, given.kills - kills))
            kills, seed = kills + killed, seed + 1
            print(f"{trial.name}: {killed} kills, {repeated} steps repeated, all as in the whole run", flush=True)
    print(f"{kills} kills in {time.monotonic() - began:.0f} s: every step of the same rows as in a run never killed")


if __name__ == "__main__":
    main()
