"""The student of a Lightning checkpoint, rebuilt from the run's configuration."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from lightning_embed.checkpoints.adapters import KEY, check_base, with_base
from lightning_embed.checkpoints.integrity import require_whole
from lightning_embed.errors import UserError, first_line, user_error

if TYPE_CHECKING:
    from lightning_embed.encoders.text_encoder import TextEncoder

PREFIX = "student."


def config_of(checkpoint: Path) -> Path:
    """The configuration that `fit` wrote for the run of a checkpoint.

    Args:
        checkpoint: `RUN/checkpoints/NAME.ckpt`; the newest of `RUN/config.yaml` and `RUN/csv/version_*/config.yaml` is taken.

    Raises:
        UserError: There is none.
    """
    home = checkpoint.resolve().parent
    runs = [home.parent, home] if home.name == "checkpoints" else [home, home.parent]
    for run in runs:
        found = [*run.glob("config.yaml"), *run.glob("csv/version_*/config.yaml")]
        if found:
            return max(found, key=lambda file: file.stat().st_mtime)
    raise UserError(
        f"{checkpoint}: the run's config.yaml was expected in {runs[0]} or {runs[0] / 'csv'}, found none; "
        "give it with --config_of_checkpoint"
    )


def is_checkpoint(path: Path) -> bool:
    """Whether a path is a checkpoint, whole or not: a file, or a folder with a sharded one.

    Args:
        path: Any path.
    """
    return path.is_file() or any((path / name).exists() for name in (".metadata", "meta.pt", "__0_0.distcp"))


def read_checkpoint(checkpoint: Path) -> dict[str, Any]:
    """What Lightning saved, read without unpickling anything but tensors and plain values; in one process, sharded or not.

    Args:
        checkpoint: The file, or the folder of a sharded checkpoint, of which the optimizer's state is left out.

    Raises:
        UserError: It is not there, is not whole, or is no checkpoint of an `EmbeddingModule`.
    """
    require_whole(checkpoint)
    if checkpoint.is_dir():
        from lightning_embed.distributed.sharded_checkpoint import read

        loaded = read(checkpoint, optimizer=False)
    else:
        loaded = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
    if not any(key.startswith(PREFIX) for key in loaded["state_dict"]):
        raise UserError(f"{checkpoint}: expected a checkpoint of EmbeddingModule, with a student; found none in it")
    return loaded


def read_config(config: Path) -> dict[str, Any]:
    """A run's configuration.

    Args:
        config: As `fit` wrote it.

    Raises:
        UserError: It cannot be read.
    """
    import yaml

    try:
        settings = yaml.safe_load(config.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"{config}: the run's configuration cannot be read ({first_line(error)})") from None
    if not isinstance(settings, dict):
        raise UserError(f"{config}: expected a run's configuration, got {type(settings).__name__}")
    return settings


def student_settings(config: Path) -> dict[str, Any]:
    """The student's part of a run's configuration: its class and arguments.

    Args:
        config: As `fit` wrote it.

    Raises:
        UserError: It has none.
    """
    try:
        student = read_config(config)["model"]["init_args"]["student"]
    except (KeyError, TypeError) as error:
        raise UserError(f"{config}: expected a run's configuration with model.init_args.student ({error!r})") from None
    if not isinstance(student, dict):
        raise UserError(f"{config}: model.init_args.student must be a mapping, got {student!r}")
    return student if "class_path" in student else {"class_path": "lightning_embed.TextEncoder", "init_args": student}


def load_student(checkpoint: Path, config: Path | None = None) -> TextEncoder:
    """The student with the checkpoint's weights, on the CPU, in evaluation mode.

    Args:
        checkpoint: A `.ckpt` file, or the folder of a sharded one.
        config: The run's configuration; None: found beside it.

    Raises:
        UserError: Either is missing or broken, or they do not belong together.
    """
    from jsonargparse import ArgumentError, ArgumentParser

    from lightning_embed.encoders.text_encoder import TextEncoder

    loaded = read_checkpoint(checkpoint)
    state = {key.removeprefix(PREFIX): value for key, value in loaded["state_dict"].items() if key.startswith(PREFIX)}
    config = config or config_of(checkpoint)
    settings = student_settings(config)
    arguments = dict(settings.get("init_args") or {})
    if KEY not in loaded:
        # The weights come from the checkpoint: the model that the student once started from need not be read.
        arguments["random_init"] = True
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--student", type=TextEncoder)
    try:
        parsed = parser.parse_object({"student": {**settings, "init_args": arguments}})
        student: TextEncoder = parser.instantiate(parsed).student
    except ArgumentError as error:
        reason = user_error(error) or " ".join(str(error).split())[:600]
        raise UserError(f"{config}: the student cannot be rebuilt: {reason}") from None
    if KEY in loaded:
        trained = [PREFIX + name for name, p in student.named_parameters() if p.requires_grad]
        check_base(student, loaded, trained, str(checkpoint))
        state = with_base(student, state)
    try:
        student.load_state_dict(state, strict=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{checkpoint}: its weights do not fit the student of {config} ({reason})") from None
    return student.eval()
