"""Trains a chain of stages, from pretrained weights to an adapter for each task, and scores them."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning_embed.errors import UserError
from lightning_embed.recipe.chain import Job, Stage, jobs
from lightning_embed.utils.formatting import duration

PRECISIONS = ("float32", "int8", "binary")
"""The columns of the tables at the end."""


def run_recipe(
    stages: list[Stage],
    folder: str = "runs/recipe",
    data: str = "python-docs",
    sample: int | None = None,
    steps: float = 1.0,
    values: dict[str, Any] | None = None,
    shared: dict[str, Any] | None = None,
    only: list[str] | None = None,
    redo: bool = False,
    dims: list[int] | None = None,
    precisions: Sequence[str] = PRECISIONS,
    shots: int = 16,
) -> None:
    """Trains the stages that are not trained yet, scores them, prints the report, and puts the adapters beside their base.

    Args:
        stages: The chain, in order.
        folder: Where everything goes: a folder for each stage, `report`, `export`.
        data: A folder, which replaces `$data` in the stages' configurations, or `python-docs` (docstrings of installed packages).
        sample: The most training rows of each kind, copied into FOLDER/data in one layout; needed for `python-docs`. None: all, in place.
        steps: Every number of steps in the configurations is multiplied by this; 0.05 is a quick look at everything.
        values: Name -> what replaces `$name` in the configurations.
        shared: Settings of `fit` that each stage has unless its own configuration says otherwise.
        only: Names of the stages to train; None: all.
        redo: Moves a stage whose settings have changed aside, and those built on it, and trains them again; else it is an error.
        dims: Sizes to score; None: D, D/2 … down to 32.
        precisions: Some of float32, int8, binary, binary_rescore.
        shots: Training texts a label, in the score of a classification task from files.

    Raises:
        UserError: The chain, its data or a stage is wrong, in one line.
    """
    from lightning_embed.recipe.chain import order

    order(stages)  # its mistakes first, before any data is read
    home = Path(folder)
    from lightning_embed.recipe.data import prepare

    prepared = prepare(data, sample, home / "data")
    chain = jobs(stages, home, prepared.folder, prepared.identity, steps, values, shared)
    train(_chosen(chain, only), redo)
    finished = [job for job in chain if _finished(job)]
    if any(job.stage.task for job in finished):
        from lightning_embed.recipe.scoring import score
        from lightning_embed.recipe.summary import print_summary, write_summary

        summary = score(finished, home / "scores", dims, precisions, shots)
        print_summary(summary, write_summary(summary, home / "report"))
    from lightning_embed.recipe.exporting import export_adapters

    export_adapters(finished, home / "export")


def _chosen(chain: Sequence[Job], only: list[str] | None) -> list[Job]:
    known = [job.name for job in chain]
    unknown = [name for name in only or [] if name not in known]
    if unknown:
        raise UserError(f"only: there is no stage '{unknown[0]}'; known are {', '.join(known)}")
    return [job for job in chain if only is None or job.name in only]


def train(chain: Sequence[Job], redo: bool) -> None:
    """Trains the stages that are not done, a line for each.

    Args:
        chain: The stages, in order.
        redo: Whether a changed stage is moved aside.
    """
    from rich.console import Console

    from lightning_embed.recipe.stages import check_changed, is_done, last_checkpoint, outcome, run_stage

    for job in chain:
        for one in (*job.ancestors, job):
            check_changed(one, redo and one in chain)
    console = Console(stderr=True)
    for job in chain:
        if is_done(job):
            _say(job, f"done before, in {duration(outcome(job).seconds)}")
            continue
        resumes = last_checkpoint(job).exists()
        _say(job, ("resumes" if resumes else "starts") + (f" from {job.after.name}" if job.after else ""))
        of = f" of {job.steps:,}" if job.steps else ""
        start = time.monotonic()
        with console.status(job.name) as status:

            def report(step: int, name: str = job.name, of: str = of, start: float = start) -> None:
                status.update(f"{name}: step {step:,}{of}, {duration(time.monotonic() - start)}")

            found = run_stage(job, report)
        loss = "" if found.loss is None else f", loss {found.loss:.4f}"
        stops = "" if not found.stops else f", stopped {found.stops} time{'s' if found.stops > 1 else ''} on the way"
        _say(job, f"{found.steps:,} steps in {duration(found.seconds)}{loss}{stops} -> {job.folder / 'model'}")


def _finished(job: Job) -> bool:
    from lightning_embed.recipe.stages import is_done

    return is_done(job)


def _say(job: Job, text: str) -> None:
    print(f"{job.name:<15} {text}", file=sys.stdout, flush=True)
