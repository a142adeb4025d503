"""The teacher and the data of a finished run, rebuilt from its checkpoint and its config.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning_embed.checkpoints.places import found_from_here
from lightning_embed.checkpoints.rebuild import rebuild
from lightning_embed.checkpoints.settings import KEY, read_without_weights
from lightning_embed.checkpoints.student import run_settings
from lightning_embed.datamodules import EmbeddingDataModule
from lightning_embed.encoders.teacher import FrozenEncoder, StoredTeacher
from lightning_embed.encoders.text_encoder import TextEncoder
from lightning_embed.errors import UserError, in_one_line, user_error
from lightning_embed.utils.configs import arguments_of, teacher_in
from lightning_embed.utils.teacher_names import ONE

Teacher = FrozenEncoder | StoredTeacher | TextEncoder
CLASSES = ("EmbeddingDataModule", "PythonDocs")
"""The classes of data that are rebuilt: a configuration's other names are not imported."""


def teacher_of(checkpoint: Path, config: Path | None = None, name: str = ONE) -> Teacher | None:
    """A run's teacher, in evaluation mode; its weights are loaded when they are first used.

    Args:
        checkpoint: The run's checkpoint.
        config: The run's configuration, in place of the checkpoint's own settings; None: those.
        name: The teacher's, where the run had several.

    Returns:
        None where the run had no teacher.

    Raises:
        UserError: It cannot be rebuilt, e.g. because its folder is gone, or the name is not one of the run's.
    """
    own = None if config is not None else read_without_weights(checkpoint).get(KEY)
    settings = teacher_in(run_settings(checkpoint, config).get("model"), name)
    if settings is None:
        return None
    try:
        made = rebuild(found_from_here(settings, own)) if own is not None else _parsed(Teacher, settings)
    except UserError as error:
        raise UserError(f"the run's teacher cannot be rebuilt: {error}") from None
    if not isinstance(made, FrozenEncoder | StoredTeacher | TextEncoder):
        raise UserError(f"the run's teacher cannot be rebuilt: it is a {type(made).__name__}")
    return made.eval().requires_grad_(False)


def data_of(checkpoint: Path, config: Path | None = None) -> EmbeddingDataModule:
    """A run's data, read in this process.

    Args:
        checkpoint: The run's checkpoint.
        config: As for `teacher_of`.

    Raises:
        UserError: The run's config.yaml is not beside the checkpoint, or its data cannot be rebuilt.
    """
    section = run_settings(checkpoint, config).get("data")
    if not isinstance(section, Mapping):
        raise UserError("the run's config.yaml, which names its data, is not beside the checkpoint")
    path = str(section.get("class_path", CLASSES[0]))
    if path.rpartition(".")[2] not in CLASSES or not path.startswith(("lightning_embed.", *CLASSES)):
        raise UserError(f"the run's data is a class of its own, {path}")
    arguments = {**arguments_of(section), "num_workers": 0}
    made = _parsed(
        EmbeddingDataModule, {"class_path": f"lightning_embed.{path.rpartition('.')[2]}", "init_args": arguments}
    )
    assert isinstance(made, EmbeddingDataModule)
    return made


def _parsed(kind: Any, settings: Any) -> Any:
    """An object as a configuration describes it."""
    from jsonargparse import ArgumentError, ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--value", type=kind)
    try:
        return parser.instantiate(parser.parse_object({"value": settings})).value
    except ArgumentError as error:
        raise UserError(str(user_error(error) or in_one_line(error, 300))) from None
