"""Runs a stage: once, in a process of its own, and on from where it was if it was stopped."""

from __future__ import annotations

import csv
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lightning_embed.errors import UserError
from lightning_embed.recipe.chain import Job
from lightning_embed.utils.atomic import write_whole
from lightning_embed.utils.differences import differences
from lightning_embed.utils.signals import ENDING, Stopped

CONFIG, BEGUN, DONE, LOG = "stage.yaml", "begun.json", "done.json", "fit.log"
"""What a stage's folder has beside what `fit` leaves: its configuration, what it was begun as, that it is done, and fit's words."""
FIT = [sys.executable, "-m", "lightning_embed", "fit"]
"""The command that trains a stage."""
POLL = 0.5
"""Seconds between two looks at a running stage."""


@dataclass(frozen=True)
class Outcome:
    """What a stage came to."""

    name: str
    """The stage."""
    after: str
    """What it started from."""
    steps: int
    """Optimizer steps."""
    seconds: float
    """In its `fit`, stops not counted."""
    stops: int
    """How often it was stopped and resumed."""
    loss: float | None
    """The last that was logged."""


def is_done(job: Job) -> bool:
    """Whether a stage was trained to its end as it is configured now.

    Args:
        job: The stage.
    """
    return _read(job.folder / DONE).get("key") == job.key and (job.folder / "model" / "modules.json").is_file()


def last_checkpoint(job: Job) -> Path:
    """The checkpoint that a stopped stage resumes from; it may not exist.

    Args:
        job: The stage.
    """
    return job.folder / "checkpoints" / "last.ckpt"


def outcome(job: Job) -> Outcome:
    """What a finished stage came to.

    Args:
        job: The stage.
    """
    return Outcome(**_read(job.folder / DONE)["outcome"])


def check_changed(job: Job, redo: bool) -> None:
    """Refuses a stage that was begun as something else, or moves what is there aside.

    What it holds may have taken days: it is neither trained on in another way, nor written over, nor deleted.

    Args:
        job: The stage.
        redo: Whether to move it aside.

    Raises:
        UserError: It was begun with other settings, data or predecessors.
    """
    begun = _read(job.folder / BEGUN)
    if not begun or begun["key"] == job.key:
        return
    changed = differences(begun["settings"], job.settings)
    if begun["data"] != job.data_identity:
        changed.append("the data")
    if begun["after"] != (job.after.key if job.after else ""):
        changed.append(f"what it starts from ({job.after.name if job.after else 'pretrained weights'})")
    if not redo:
        raise UserError(
            f"stage '{job.name}' in {job.folder} was begun with other settings ({'; '.join(changed)[:400]}): put them back, give "
            "another --folder, or --redo true to move it, and what was built on it, aside and train again"
        )
    number = 1
    while (aside := job.folder.with_name(f"{job.name}-replaced-{number}")).exists():
        number += 1
    with lock(job):
        os.rename(job.folder, aside)
    print(f"{job.name}: its settings changed ({'; '.join(changed)[:200]}); what was there is now {aside}", flush=True)


def run_stage(job: Job, report: Callable[[int], None] = lambda step: None) -> Outcome:
    """Trains a stage to its end.

    Args:
        job: The stage.
        report: Called now and then with the current step.

    Raises:
        UserError: Another process trains it, its predecessor's model is missing, or its `fit` failed.
        KeyboardInterrupt, Stopped: It was asked to stop, and its `fit` has saved a checkpoint and ended.
    """
    if job.after is not None and not is_done(job.after):
        raise UserError(
            f"stage '{job.name}' starts from '{job.after.name}', which is not trained ({job.after.folder / 'model'} is expected): "
            f"run '{job.after.name}' first, or leave --only out"
        )
    job.folder.mkdir(parents=True, exist_ok=True)
    with lock(job) as handle:
        begun = _read(job.folder / BEGUN) or {
            "key": job.key,
            "settings": job.settings,
            "data": job.data_identity,
            "after": job.after.key if job.after else "",
            "seconds": 0.0,
            "starts": 0,
        }
        begun["starts"] += 1
        _write(job.folder / BEGUN, begun)
        write_whole(job.folder / CONFIG, _yaml(job))
        seconds = _fit(job, handle, begun, report)
        steps, loss = progress(job.folder)
        after = job.after.name if job.after else "pretrained"
        found = Outcome(job.name, after, job.steps or steps, seconds, begun["starts"] - 1, loss)
        _write(job.folder / DONE, {"key": job.key, "outcome": vars(found)})
    return found


def _fit(job: Job, handle: int, begun: dict[str, Any], report: Callable[[int], None]) -> float:
    """Runs `fit`; returns the seconds that it has taken over all starts."""
    words = [*FIT, "--config", str(job.folder / CONFIG)]
    if last_checkpoint(job).exists():
        words += ["--ckpt_path", str(last_checkpoint(job))]
    else:  # one that was stopped while it saved its first
        shutil.rmtree(job.folder / "checkpoints", ignore_errors=True)
    start = written = time.monotonic()
    with (job.folder / LOG).open("a", encoding="utf-8") as log:
        log.write(f"$ {' '.join(words)}\n")
        log.flush()
        begins = log.tell()
        process = subprocess.Popen(
            words,
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            pass_fds=[handle],  # it holds the lock on, should this process be killed
        )
        try:
            while process.poll() is None:
                report(progress(job.folder)[0])
                if time.monotonic() - written > 5:  # seconds of the reported time that a kill may lose
                    written = time.monotonic()
                    _write(job.folder / BEGUN, {**begun, "seconds": begun["seconds"] + written - start})
                time.sleep(POLL)
        except (KeyboardInterrupt, Stopped) as stop:
            _let_it_end(process, stop.number if isinstance(stop, Stopped) else signal.SIGINT)
            raise
        finally:
            if process.poll() is None:
                process.terminate()
    seconds: float = begun["seconds"] + time.monotonic() - start
    if process.returncode in (130, -signal.SIGINT):
        raise KeyboardInterrupt
    if process.returncode:
        raise UserError(f"stage '{job.name}': {_last_words(job.folder / LOG, begins, process.returncode)}")
    if not (job.folder / "model" / "modules.json").is_file():
        raise UserError(
            f"stage '{job.name}': its fit left no {job.folder / 'model'}, which the next stages start from; its configuration must "
            "leave report.enabled and report.export true"
        )
    return seconds


def _let_it_end(process: subprocess.Popen[bytes], number: int) -> None:
    """Passes a signal on to `fit`, and waits while it finishes its step and saves a checkpoint. Ctrl-C from then on ends it at once."""
    print("\nstopping: the stage saves a checkpoint (Ctrl-C again stops at once)", file=sys.stderr, flush=True)
    process.send_signal(number)  # a terminal's Ctrl-C has reached it already, which counts as one
    while process.poll() is None:
        try:
            process.wait()
        except KeyboardInterrupt:
            process.kill()
        except Stopped:  # again: it has been told
            pass


def _last_words(log: Path, begins: int, code: int) -> str:
    """The error that `fit` printed since a position in its log."""
    with log.open("rb") as file:
        file.seek(begins)
        lines = [line.strip() for line in file.read().decode("utf-8", "replace").splitlines() if line.strip()]
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    if errors:
        return f"{errors[-1]} (its output: {log})"
    killed = f"was killed by signal {-code}" if code < 0 else f"failed with exit code {code}"
    if code - 128 in ENDING:
        killed = f"was stopped by {signal.Signals(code - 128).name}"
    return f"its fit {killed}{': ' + lines[-1][:200] if lines else ''} (its output: {log}); the same command resumes"


@contextmanager
def lock(job: Job) -> Iterator[int]:
    """Holds a stage's folder for this process and the `fit` that it starts; yields the lock's descriptor.

    Args:
        job: The stage.

    Raises:
        UserError: Another process holds it.
    """
    job.folder.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(job.folder.with_name(f".{job.name}.lock"), os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(
                f"stage '{job.name}': another process is training in {job.folder}; wait for it, or stop it"
            ) from None
        yield handle
    finally:
        os.close(handle)


def progress(folder: Path) -> tuple[int, float | None]:
    """The last step, and the last loss, that a run has logged; 0 and None before it has.

    Args:
        folder: The run's.
    """
    files = sorted(folder.glob("csv/version_*/metrics.csv"), key=lambda file: file.stat().st_mtime)
    step, loss = 0, None
    try:
        with files[-1].open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                step = max(step, int(row.get("step") or 0) + 1)
                loss = float(row["train/loss"]) if row.get("train/loss") else loss
    except (IndexError, OSError, ValueError):  # nothing yet, or half a line
        pass
    return step, loss


def _yaml(job: Job) -> str:
    command = f"# python -m lightning_embed fit --config {job.folder / CONFIG}\n"
    return command + yaml.safe_dump(job.runnable(), sort_keys=False, allow_unicode=True)


def _read(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _write(file: Path, content: dict[str, Any]) -> None:
    write_whole(file, json.dumps(content, indent=1, ensure_ascii=False))
