"""The student that is exported: read from a checkpoint or a model's folder, with what is known of its run."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightning_embed.checkpoints.student import is_checkpoint, load_student, run_settings
from lightning_embed.encoders.pretrained import is_model_folder
from lightning_embed.encoders.text_encoder import TextEncoder
from lightning_embed.errors import UserError


@dataclass(frozen=True)
class Student:
    """An encoder, and what is known of the run that trained it."""

    encoder: TextEncoder
    config: dict[str, Any] = field(default_factory=dict)
    """The run's configuration; empty for a model's folder."""
    run_folder: Path | None = None
    """The run's folder."""
    checkpoint: Path | None = None
    """The checkpoint that it was read from."""
    config_file: Path | None = None
    """The configuration that was given in place of the checkpoint's own settings."""


def read_student(path: Path, config: Path | None) -> Student:
    """Reads a student from a checkpoint of a run, or from the folder of a model.

    Args:
        path: The checkpoint, or the folder.
        config: The run's configuration; None: the checkpoint's own settings, or one found beside it.

    Raises:
        UserError: There is nothing to read, or it does not fit together.
    """
    if path.is_dir() and is_model_folder(path):
        return Student(TextEncoder(str(path)).eval())
    if not is_checkpoint(path):
        raise UserError(f"{path}: neither a checkpoint nor a model's folder")
    home = path.resolve().parent
    run_folder = home.parent if home.name == "checkpoints" else home
    return Student(load_student(path, config), run_settings(path, config), run_folder, path, config)
