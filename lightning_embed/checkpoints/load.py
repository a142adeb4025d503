"""What `EmbeddingModule.load_from_checkpoint` constructs the module with."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from lightning_embed.checkpoints.adapters import KEY as ADAPTER
from lightning_embed.checkpoints.places import found_from_here
from lightning_embed.checkpoints.rebuild import (
    arguments_of_config,
    import_class,
    import_modules_of_run,
    rebuild,
    without_weights,
)
from lightning_embed.checkpoints.settings import KEY, require_all
from lightning_embed.checkpoints.student import find_config, read_checkpoint
from lightning_embed.errors import UserError
from lightning_embed.utils.configs import read_config


def load_arguments(
    cls: type, checkpoint: Path, config: Path | None, changed: Mapping[str, Any]
) -> tuple[type, dict[str, Any]]:
    """The class of a checkpoint's module, and the arguments of its constructor.

    Args:
        cls: The class that was asked for; a subclass of it that the checkpoint names is taken instead.
        checkpoint: The file, or the folder of a sharded checkpoint.
        config: The configuration of its run, in place of its own settings; None: one is read only for a checkpoint without any.
        changed: Arguments that are given.

    Raises:
        UserError: Something cannot be rebuilt.
    """
    loaded = read_checkpoint(checkpoint)
    own = loaded.get(KEY) if config is None else None
    try:
        if own is None:
            return _from_config(cls, loaded, checkpoint, config, changed)
        import_modules_of_run(own["model"], find_config(checkpoint))
        kind = _class_of(cls, own["model"]["class_path"])
        arguments = found_from_here(own["model"]["init_args"], own)
        missing = {n: what for n, what in own["missing"]["model"].items() if n and n.partition(".")[0] not in changed}
        require_all(missing, checkpoint, f"give it: {cls.__name__}.load_from_checkpoint(..., {{}}=...)")
        adapted = ADAPTER in loaded
        rest = {name: value for name, value in arguments.items() if name not in changed}
        return kind, {n: rebuild(v, without_weights(n, adapted)) for n, v in rest.items()} | dict(changed)
    except UserError as error:
        raise UserError(str(error) if str(checkpoint) in str(error) else f"{checkpoint}: {error}") from error


def _class_of(cls: type, path: str) -> type:
    if path.rpartition(".")[2] == cls.__qualname__:  # which may be a script's or a function's, that cannot be imported
        return cls
    kind = import_class(path)
    return kind if issubclass(kind, cls) else cls


def _from_config(
    cls: type, loaded: Mapping[str, Any], checkpoint: Path, config: Path | None, changed: Mapping[str, Any]
) -> tuple[type, dict[str, Any]]:
    config = config or find_config(checkpoint)
    if config is None:
        if "student" in changed or "hyper_parameters" in loaded:
            return cls, dict(changed)
        raise UserError(
            "an earlier version wrote it, without the settings of its module, and no config.yaml of its run was found; "
            "give hparams_file=CONFIG, or student=..., losses=... and what else the module was made of"
        )
    section = read_config(config).get("model")
    if not isinstance(section, dict) or not isinstance(section.get("init_args"), dict):
        raise UserError(f"{config}: expected a run's configuration with model.init_args")
    path = str(section.get("class_path"))
    import_modules_of_run(section, config)
    kind = _class_of(cls, path) if "." in path else cls
    names = [name for name in section["init_args"] if name not in changed]
    return kind, arguments_of_config(kind, section["init_args"], names) | dict(changed)


def checkpoint_file(checkpoint: Path) -> Any:
    """What torch.load reads a checkpoint from: its file, or, of the folder of a sharded one, a file in memory.

    Args:
        checkpoint: Either.
    """
    if not checkpoint.is_dir():
        return checkpoint
    whole = io.BytesIO()
    torch.save(read_checkpoint(checkpoint), whole)
    whole.seek(0)
    return whole
