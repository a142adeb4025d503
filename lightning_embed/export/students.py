"""The student that is exported: read from a checkpoint or a model's folder, with what is known of its run."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightning_embed.checkpoints.student import is_checkpoint, load_student, read_checkpoint, run_settings
from lightning_embed.encoders.text_encoder import TextEncoder
from lightning_embed.errors import UserError
from lightning_embed.heads import Projection


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


def read_student(path: Path, config: Path | None) -> Student:
    """Reads a student from a checkpoint of a run, or from the folder of a model.

    Args:
        path: The checkpoint, or the folder.
        config: The run's configuration; None: the checkpoint's own settings, or one found beside it.

    Raises:
        UserError: There is nothing to read, or it does not fit together.
    """
    if path.is_dir() and (path / "config.json").is_file():
        return Student(TextEncoder(str(path)).eval())
    if not is_checkpoint(path):
        raise UserError(f"{path}: neither a checkpoint nor a model's folder with a config.json")
    home = path.resolve().parent
    run_folder = home.parent if home.name == "checkpoints" else home
    return Student(load_student(path, config), run_settings(path, config), run_folder, path)


def read_projection(checkpoint: Path | None, encoder: TextEncoder) -> Projection:
    """ψ of the student's side, as a run trained it.

    Args:
        checkpoint: The run's checkpoint; None: there is none.
        encoder: The student as it is exported.

    Raises:
        UserError: There is no projection, or it does not fit the exported vectors.
    """
    state = read_checkpoint(checkpoint)["state_dict"] if checkpoint else {}
    if "projection.weight" not in state:
        raise UserError("dense: the checkpoint has no projection; leave --dense out")
    out_dim, in_dim = state["projection.weight"].shape
    if in_dim != encoder.dim or encoder.dim != encoder.width:
        raise UserError(
            f"dense: the projection maps {in_dim} entries and the exported vectors have {encoder.dim} "
            f"of {encoder.width}; it fits only a whole student whose side is projected"
        )
    made = Projection(in_dim, out_dim)
    made.load_state_dict({name: state[f"projection.{name}"] for name in ("weight", "bias")})
    return made.requires_grad_(False)
