"""Kills training runs again and again and shows that their steps are those of runs never killed.

    python scripts/kill_and_resume.py --kills 200

A server that has imported everything forks a run; SIGKILL hits it, its ranks and its workers at a random moment after a random number of
steps; it goes on with `--ckpt_path last` and another number of workers (0, 1, 2) and ranks (1, 2). A callback writes down, after each step,
which rows it was of. Every step must have been of the same rows as in the whole run, redone steps too, and none may be missing; where the
number of ranks stays the same, so must the losses.
"""

import argparse
import gc
import json
import os
import random
import signal
import socket
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import yaml

from lightning_embed.batch import TokenBatch

ROOT = Path(__file__).resolve().parents[1]
MOST = 7
"""Kills of one run."""
PATIENCE = 120
"""Seconds without a new step until a run counts as hung."""


class Record(L.Callback):
    """Appends each step's rows and loss to a file, and makes sure that they are on disk.

    Args:
        path: The file; each rank has its own, with its number behind the name.
    """

    def __init__(self, path: str) -> None:
        self.path = path

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: TokenBatch, batch_idx: int
    ) -> None:
        """Writes a line."""
        progress: Any = trainer.fit_loop.epoch_loop.batch_progress
        line = {
            "segment": os.environ.get("SEGMENT", ""),
            "world": trainer.world_size,
            "step": progress.total.processed - 1,
            "source": batch.source,
            "rows": sorted(batch.rows),
            "loss": float(outputs["loss"]),
        }
        with open(f"{self.path}.{trainer.global_rank}", "a") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())


@dataclass(frozen=True)
class Trial:
    """A kind of run to kill."""

    name: str
    trainer: dict[str, Any]
    checkpoint: dict[str, Any]
    worlds: tuple[int, ...] = (1, 1, 2)


TRIALS = (
    Trial("every third step, several epochs", {"max_steps": 60, "val_check_interval": 0.5}, {"every_n_train_steps": 3}),
    Trial(
        "gradients of three batches, by epochs, one rank",
        {"max_epochs": 3, "accumulate_grad_batches": 3, "val_check_interval": 4},
        {"every_n_train_steps": 1},
        (1,),
    ),
    Trial(
        "after each validation, in mid-epoch and at its end",
        {"max_steps": 60, "val_check_interval": 7},
        {"every_n_epochs": 1, "save_on_train_epoch_end": False},
    ),
    Trial(
        "part of an epoch each, one rank",
        {"max_steps": 50, "limit_train_batches": 10, "check_val_every_n_epoch": 2},
        {"every_n_train_steps": 4},
        (1,),
    ),
)


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
            "callbacks": [{"class_path": f"{__name__.replace('__main__', 'scripts.kill_and_resume')}.Record",
                           "init_args": {"path": str(run / "steps")}}],
            **trial.trainer,
        },
        "checkpoint": {"monitor": None, "save_last": True, "save_top_k": 1, **trial.checkpoint},
        "report": {"enabled": False},
    }  # fmt: skip


def _forked(work: Callable[[], None], log: Path) -> int:
    """Runs something in a fork of this process, in a process group of its own; its process id."""
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        status = 1
        try:
            with log.open("ab") as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
            work()
            status = 0
        except SystemExit as stop:
            status = int(stop.code or 0)
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    return child


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(folder: Path, run: Path, trial: Trial, world: int, workers: int, segment: str) -> list[int]:
    """Starts or resumes a run; the process ids of its ranks.

    Args:
        folder: The inputs.
        run: The run's folder.
        trial: The kind of run.
        world: Ranks.
        workers: Workers of each loader.
        segment: A name for this part of the run.
    """
    run.mkdir(parents=True, exist_ok=True)
    file = run / f"{segment}.yaml"
    file.write_text(yaml.safe_dump(config(folder, run, trial, world, workers)))
    words = ["fit", "--config", str(file)]
    if (run / "checkpoints" / "last.ckpt").is_file():
        words += ["--ckpt_path", "last"]
    port = _free_port()

    def rank(number: int) -> None:
        os.environ |= {"LIGHTNING_EMBED_RUN": str(run), "SEGMENT": segment}
        if world > 1:
            os.environ |= {"LOCAL_RANK": str(number), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        from lightning_embed.__main__ import main

        main(words)

    return [_forked(lambda number=number: rank(number), run / f"log.{number}") for number in range(world)]  # type: ignore[misc]


def steps_of(run: Path) -> list[dict[str, Any]]:
    """What was written down so far, whole lines only.

    Args:
        run: The run's folder.
    """
    lines = [line for file in sorted(run.glob("steps.*")) for line in file.read_text().splitlines(keepends=True)]
    return [json.loads(line) for line in lines if line.endswith("\n")]


def wait(run: Path, ranks: list[int], kill_after: int | None, lag: float = 0.0) -> bool:
    """Waits for the end of a run or kills it after some steps more; whether it was killed.

    Args:
        run: The run's folder.
        ranks: Its processes.
        kill_after: Steps; None: it is left to end.
        lag: Seconds from then to the kill.

    Raises:
        AssertionError: If it fails or hangs.
    """
    before = seen = len(steps_of(run))
    moved, left = time.monotonic(), dict.fromkeys(ranks)
    try:
        while left:
            for child in list(left):
                done, status = os.waitpid(child, os.WNOHANG)
                if done:
                    left.pop(child)
                    log = run / f"log.{ranks.index(child)}"
                    assert os.waitstatus_to_exitcode(status) == 0, f"a run failed:\n{log.read_text()[-3000:]}"
            now = len(steps_of(run))
            if now > seen:
                seen, moved = now, time.monotonic()
            assert time.monotonic() - moved < PATIENCE, f"a run hangs:\n{(run / 'log.0').read_text()[-3000:]}"
            if left and kill_after is not None and now - before >= kill_after * len(ranks):
                time.sleep(lag)
                return True
            time.sleep(0.005)
        return False
    finally:
        for child in left:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)


def compare(whole: list[dict[str, Any]], killed: list[dict[str, Any]], with_losses: bool) -> int:
    """Checks a killed run's steps against those of the whole one; how many were redone.

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


def one(folder: Path, trial: Trial, seed: int, kills: int) -> tuple[int, int]:
    """Kills a run up to `kills` times, lets it end, and compares it; how often it was killed, and how many steps were redone.

    Args:
        folder: The inputs.
        trial: The kind of run.
        seed: Which random moments.
        kills: The most kills.
    """
    whole = folder / "whole" / str(TRIALS.index(trial))
    if not whole.exists():
        wait(whole, start(folder, whole, trial, 1, 0, "whole"), None)
    dice, run, killed = random.Random(seed), folder / f"killed-{seed}", 0
    while True:
        world, workers = dice.choice(trial.worlds), dice.choice((0, 1, 2))
        ranks = start(folder, run, trial, world, workers, f"part {killed} ({world} ranks, {workers} workers)")
        patience = dice.choice((1, 2, 3, 5, 8, 13)) if killed < kills else None
        if not wait(run, ranks, patience, dice.choice((0, 0, dice.random() * 0.05))):
            break
        killed += 1
    return killed, compare(steps_of(whole), steps_of(run), with_losses=trial.worlds == (1,))


def prepare(folder: Path) -> None:
    """Imports, once for all forks, what a run needs, and writes the inputs.

    Args:
        folder: Where.
    """
    import torch

    torch.set_num_threads(1)
    import datasets  # noqa: F401
    import pyarrow.json  # noqa: F401
    import zstandard  # noqa: F401
    from transformers import AutoModel, AutoTokenizer, PreTrainedTokenizerFast  # noqa: F401
    from transformers.models.bert import modeling_bert  # noqa: F401

    import lightning_embed.cli  # noqa: F401

    gc.freeze()
    child = _forked(lambda: write_inputs(folder), folder / "log")
    assert os.waitpid(child, 0)[1] == 0, (folder / "log").read_text()


def main() -> None:
    """Kills runs until there were enough kills."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    began, kills, seed = time.monotonic(), 0, given.seed
    with tempfile.TemporaryDirectory() as scratch:
        prepare(Path(scratch))
        while kills < given.kills:
            trial = TRIALS[seed % len(TRIALS)]
            killed, redone = one(Path(scratch), trial, seed, min(MOST, given.kills - kills))
            kills, seed = kills + killed, seed + 1
            print(f"{trial.name}: {killed} kills, {redone} steps redone, all as in the whole run", flush=True)
    print(f"{kills} kills in {time.monotonic() - began:.0f} s: every step of the same rows as in a run never killed")


if __name__ == "__main__":
    main()
