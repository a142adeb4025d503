"""The student of a Lightning checkpoint, rebuilt from the checkpoint's own settings, or else from the run's configuration."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from lightning_embed.checkpoints.adapters import KEY as ADAPTER
from lightning_embed.checkpoints.adapters import check_base, with_base
from lightning_embed.checkpoints.integrity import require_whole
from lightning_embed.checkpoints.places import found_from_here
from lightning_embed.checkpoints.rebuild import import_modules_of_run, rebuild, without_weights
from lightning_embed.checkpoints.settings import KEY, read_without_weights, require_all
from lightning_embed.errors import UserError, in_one_line, user_error
from lightning_embed.utils.configs import read_config

if TYPE_CHECKING:
    from lightning_embed.encoders.text_encoder import TextEncoder

PREFIX = "student."


def find_config(checkpoint: Path) -> Path | None:
    """The configuration that `fit` wrote for the run of a checkpoint; None where there is none.

    Args:
        checkpoint: `RUN/checkpoints/NAME.ckpt`; the newest of `RUN/config.yaml` and, of earlier versions, `RUN/csv/version_*/config.yaml`
            is taken.
    """
    for run in _run_folders(checkpoint):
        found = [*run.glob("config.yaml"), *run.glob("csv/version_*/config.yaml")]
        if found:
            return max(found, key=lambda file: file.stat().st_mtime)
    return None


def _run_folders(checkpoint: Path) -> list[Path]:
    home = checkpoint.resolve().parent
    return [home.parent, home] if home.name == "checkpoints" else [home, home.parent]


def config_of(checkpoint: Path) -> Path:
    """The configuration of a checkpoint that has no settings of its own.

    Args:
        checkpoint: Written by an earlier version.

    Raises:
        UserError: There is none.
    """
    found = find_config(checkpoint)
    if found is None:
        run = _run_folders(checkpoint)[0]
        raise UserError(
            f"{checkpoint}: it has no settings of its student, as an earlier version wrote it, and the run's config.yaml was expected in "
            f"{run} or {run / 'csv'}, found none; give it with --config_of_checkpoint"
        )
    return found


def config_in_use(checkpoint: Path, config: str | Path | None) -> Path | None:
    """The configuration that a checkpoint's student is rebuilt from; None: its own settings.

    Args:
        checkpoint: The file, or the folder of a sharded checkpoint.
        config: The one that the user gives.
    """
    if config is not None:
        return Path(config)
    return None if KEY in read_without_weights(checkpoint) else config_of(checkpoint)


def run_settings(checkpoint: Path, config: str | Path | None = None) -> dict[str, Any]:
    """The configuration of a checkpoint's run, as far as it is known: `model` is the checkpoint's own.

    Args:
        checkpoint: The file, or the folder of a sharded checkpoint.
        config: The configuration that the user gives, which then is all of it.
    """
    if config is not None:
        return read_config(Path(config))
    own, file = read_without_weights(checkpoint).get(KEY), find_config(checkpoint)
    if own is None:
        return read_config(file or config_of(checkpoint))
    return (read_config(file) if file is not None else {}) | {"model": own["model"]}


def is_checkpoint(path: Path) -> bool:
    """Whether a path is a checkpoint, whole or not: a file, or a folder with a sharded one.

    Args:
        path: A file or folder, which need not exist.
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
        config: A run's configuration, which overrides the checkpoint's own settings; None: one is read only for a checkpoint without any.

    Raises:
        UserError: Either is missing or broken, or they do not belong together.
    """
    loaded = read_checkpoint(checkpoint)
    own = loaded.get(KEY) if config is None else None
    if own is None:
        config = config or config_of(checkpoint)
    untrained = without_weights("student", adapted=ADAPTER in loaded)
    student = _from_config(config, untrained) if config is not None else _from_settings(checkpoint, own, untrained)
    state = {key.removeprefix(PREFIX): value for key, value in loaded["state_dict"].items() if key.startswith(PREFIX)}
    if ADAPTER in loaded:
        trained = [PREFIX + name for name, p in student.named_parameters() if p.requires_grad]
        check_base(student, loaded, trained, str(checkpoint))
        state = with_base(student, state)
    try:
        student.load_state_dict(state, strict=True)
    except RuntimeError as error:
        reason = in_one_line(error)
        of = config or "its settings"
        raise UserError(f"{checkpoint}: its weights do not fit the student of {of} ({reason})") from None
    return student.eval()


def _from_settings(checkpoint: Path, own: Any, untrained: dict[str, Any]) -> TextEncoder:
    """The student of a checkpoint's own settings, without its weights."""
    from lightning_embed.encoders.text_encoder import TextEncoder

    require_all(own["missing"]["student"], checkpoint, "give the run's configuration with --config_of_checkpoint")
    import_modules_of_run(own["student"], find_config(checkpoint))
    try:
        student = rebuild(found_from_here(own["student"], own), untrained)
    except UserError as error:
        raise UserError(f"{checkpoint}: the student cannot be rebuilt: {error}") from None
    if not isinstance(student, TextEncoder):
        raise UserError(f"{checkpoint}: expected a TextEncoder as its student, got {type(student).__name__}")
    return student


def _from_config(config: Path, untrained: dict[str, Any]) -> TextEncoder:
    """The student of a run's configuration, without its weights."""
    from jsonargparse import ArgumentError, ArgumentParser

    from lightning_embed.encoders.text_encoder import TextEncoder

    settings = student_settings(config)
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--student", type=TextEncoder)
    try:
        arguments = dict(settings.get("init_args") or {}) | untrained
        parsed = parser.parse_object({"student": {**settings, "init_args": arguments}})
        student: TextEncoder = parser.instantiate(parsed).student
    except ArgumentError as error:
        reason = user_error(error) or in_one_line(error, 600)
        raise UserError(f"{config}: the student cannot be rebuilt: {reason}") from None
    return student
