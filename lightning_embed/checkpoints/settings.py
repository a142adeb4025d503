"""What a checkpoint says of itself: the settings of its student and of its module, from which both are rebuilt.

    checkpoint["lightning_embed"] = {
        "version": "0.1.0",
        "student": {"class_path": ..., "init_args": {...}},
        "model": {"class_path": ..., "init_args": {"student": ..., "losses": ..., "teacher": ..., ...}},
        "missing": {"student": {}, "model": {"optimizer": "a function"}},
        "precision": "32-true",
        "folder": "/home/me/project",
    }

`version` is the package's. `model` has the form of that section in a config.yaml. `missing` names the arguments of either that are not
plain data: whoever loads the checkpoint has to give them again. `precision` is what the run was trained in, `folder` the folder
that it was started in, which relative paths are read from.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from lightning_embed.checkpoints.integrity import require_whole
from lightning_embed.checkpoints.places import FOLDER
from lightning_embed.errors import UserError
from lightning_embed.utils.described import construction
from lightning_embed.utils.differences import differences
from lightning_embed.utils.notes import note
from lightning_embed.utils.version import __version__

KEY = "lightning_embed"
"""Where a checkpoint holds them."""
OPTIMIZER = ("optimizer", "lr_scheduler")
"""Settings that `training.resumed` compares with the states."""


def write_settings(module: Any, checkpoint: dict[str, Any]) -> None:
    """Writes the settings of a module and its student into a checkpoint, and notes which it cannot hold.

    Args:
        module: An `EmbeddingModule`.
        checkpoint: Its content.
    """
    parts = {"student": construction(module.student), "model": construction(module)}
    for part, made in parts.items():
        for name, what in made.missing.items():
            if not (part == "model" and name.startswith("student")):
                note(
                    f"checkpoints do not hold {part}{'.' if name else ''}{name} ({what}): give it again when one is loaded"
                )
    settings = {part: made.settings for part, made in parts.items()}
    missing = {part: made.missing for part, made in parts.items()}
    checkpoint[KEY] = {"version": __version__, **settings, "missing": missing, FOLDER: str(Path.cwd())}


def precision_of(checkpoint: Path) -> str:
    """The trainer.precision that a checkpoint was trained in; one of an earlier version does not say, and float32 was the default.

    Args:
        checkpoint: The file, or the folder of a sharded checkpoint.
    """
    return str((read_without_weights(checkpoint).get(KEY) or {}).get("precision") or "32-true")


def note_changes(module: Any, checkpoint: Mapping[str, Any]) -> None:
    """Notes which settings of a module differ from those of a checkpoint that a fit resumes from: they count from there on.

    Args:
        module: An `EmbeddingModule`.
        checkpoint: Its content; one of an earlier version has no settings.
    """
    then, now = (checkpoint.get(KEY) or {}).get("model"), construction(module).settings
    if then is None:
        return
    of_both = [
        {name: value for name, value in one["init_args"].items() if name not in OPTIMIZER} for one in (then, now)
    ]
    said = differences(*of_both)
    if said:
        step = checkpoint["global_step"]
        note(
            f"from step {step} on: {'; '.join(said)[:400]} (what was learned, such as weights or a temperature, stays)"
        )


def read_without_weights(checkpoint: Path) -> dict[str, Any]:
    """The content of a checkpoint, of which no tensor is read from the disk; a sharded one's is without them.

    Args:
        checkpoint: The file, or the folder of a sharded checkpoint.

    Raises:
        UserError: It does not exist, or is not whole.
    """
    from lightning_embed.distributed.sharded_checkpoint import META

    require_whole(checkpoint)
    file = checkpoint / META if checkpoint.is_dir() else checkpoint
    found: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    return found


def require_all(missing: Mapping[str, str], checkpoint: Path, instead: str) -> None:
    """Raises `UserError` for the first argument that a checkpoint does not hold.

    Args:
        missing: Dotted name -> what it is.
        checkpoint: The checkpoint, for the message.
        instead: What to do, with `{}` for the argument.
    """
    for name, what in missing.items():
        argument = name.partition(".")[0]
        raise UserError(
            f"{checkpoint}: it does not hold {name or 'the class'} ({what}), which is not plain data; {instead.format(argument)}"
        )
