"""All adapters of a chain beside the base that they share: one folder, in which the reader picks the task."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from lightning_embed.recipe.chain import Job
from lightning_embed.utils.atomic import write_whole
from lightning_embed.utils.configs import arguments_of

STAGES = "stages.json"
"""What an exported folder was made of: stage -> its key."""


def adapters(finished: Sequence[Job]) -> dict[str, list[Job]]:
    """The stages that trained an adapter, by the stage that they started from.

    Args:
        finished: Stages that are trained.
    """
    found: dict[str, list[Job]] = {}
    for job in finished:
        student = arguments_of(arguments_of(job.settings.get("model")).get("student"))
        if job.after is not None and "adapter" in student:
            found.setdefault(job.after.name, []).append(job)
    return found


def export_adapters(finished: Sequence[Job], folder: Path) -> None:
    """Writes FOLDER/BASE for each base with two adapters or more, unless it holds the same already.

    Args:
        finished: Stages that are trained.
        folder: Where to.

    Raises:
        UserError: One does not load, or the folder cannot be written.
    """
    from lightning_embed.export.run import export_model

    for base, jobs in adapters(finished).items():
        keys, out = {job.name: job.key for job in jobs}, folder / base
        if len(jobs) < 2 or _made_of(out) == keys:
            continue
        export_model([f"{job.name}={checkpoint(job)}" for job in jobs], str(out), overwrite=True)
        write_whole(out / STAGES, json.dumps(keys, indent=1))


def checkpoint(job: Job) -> Path:
    """The file that a stage ended with: the average where it has one, else the last.

    Args:
        job: A stage that is trained.
    """
    averaged = job.folder / "checkpoints" / "averaged.ckpt"
    return averaged if averaged.exists() else averaged.with_name("last.ckpt")


def _made_of(folder: Path) -> dict[str, str] | None:
    try:
        keys: dict[str, str] = json.loads((folder / STAGES).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return keys
