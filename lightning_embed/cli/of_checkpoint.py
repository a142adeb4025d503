"""What `validate`, `test` and `predict` take from the checkpoint that they are given: its model, and the data of its run."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from lightning_embed.checkpoints.adapters import KEY as ADAPTER
from lightning_embed.checkpoints.places import found_from_here
from lightning_embed.checkpoints.rebuild import import_modules_of_run, require_known_classes, without_weights
from lightning_embed.checkpoints.settings import KEY, read_without_weights, require_all
from lightning_embed.checkpoints.student import find_config
from lightning_embed.cli.run_folder import run_folder
from lightning_embed.errors import UserError
from lightning_embed.utils.configs import read_config

COMMANDS = ("validate", "test", "predict")
SECTIONS_OF_FIT = ("checkpoint", "last_checkpoint", "average", "report")
"""Sections of a run's config.yaml that only `fit` has."""
ARGUMENTS_OF_FIT = ("optimizer", "lr_scheduler")
"""Arguments of the model that only `fit` uses."""


def has_config(words: Sequence[str]) -> bool:
    """Whether a command line names a configuration.

    Args:
        words: What follows the command.
    """
    return bool(_asked(words).config)


def settings_of_checkpoint(command: str, words: Sequence[str]) -> dict[str, Any]:
    """The configuration that a command takes from its checkpoint: the sections that no --config has; empty without a checkpoint.

    Args:
        command: `validate`, `test` or `predict`.
        words: What follows it.

    Raises:
        UserError: The checkpoint cannot be used.
    """
    asked = _asked(words)
    given: dict[str, Any] = {}
    for config in asked.config:
        given |= _sections(config)
    path = asked.ckpt_path or given.get("ckpt_path")
    if path in (None, "best", "hpc", "registry"):
        return {}
    if path == "last":
        folder = asked.folder or (given.get("trainer") or {}).get("default_root_dir")
        path = run_folder(folder, command, path) / "checkpoints" / "last.ckpt"
    checkpoint, found = Path(path), {}
    if "model" not in given:
        found["model"] = _model(checkpoint, {word.partition("=")[0] for word in words})
    if "data" not in given:
        found["data"] = _data(checkpoint)
    if "trainer" not in given:
        found["trainer"] = {"devices": 1}
    return found


def _asked(words: Sequence[str]) -> Any:
    parser = ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--ckpt_path", nargs="?")  # what lacks its value is for the command's own parser to refuse
    parser.add_argument("-c", "--config", nargs="?", action="append", default=[])
    parser.add_argument("--trainer.default_root_dir", nargs="?", dest="folder")
    return parser.parse_known_args(words)[0]


def _sections(config: str | None) -> dict[str, Any]:
    """What a --config has, a file or YAML itself; nothing where it cannot be read, which the command's own parser refuses."""
    try:
        file = Path(config or "")
        found = yaml.safe_load(file.read_text(encoding="utf-8") if file.is_file() else config or "")
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return found if isinstance(found, dict) else {}


def _model(checkpoint: Path, options: Iterable[str]) -> dict[str, Any]:
    """The `model` of a checkpoint, else of its run's configuration, as far as it is not for `fit` alone."""
    content = read_without_weights(checkpoint)
    if KEY in content:
        model = found_from_here(content[KEY]["model"], content[KEY])
        missing = content[KEY]["missing"]["model"]
        import_modules_of_run(model, find_config(checkpoint))
        require_known_classes(model)  # a configuration may name others, and the user answers for it
        require_all(
            {name: what for name, what in missing.items() if not _is_given(name.partition(".")[0], options)},
            checkpoint,
            "give it as --model.init_args.{}, or use EmbeddingModule.load_from_checkpoint",
        )
    else:
        file = find_config(checkpoint)
        model = read_config(file).get("model") if file is not None else None
        if not isinstance(model, dict):
            raise UserError(
                f"{checkpoint}: an earlier version wrote it, without the settings of its model, and no config.yaml of its run was "
                "found; give it with --config"
            )
    arguments = {name: value for name, value in (model.get("init_args") or {}).items() if name not in ARGUMENTS_OF_FIT}
    instead = {name: without_weights(name, ADAPTER in content) for name in arguments} | {"teacher": {"shard": False}}
    return model | {"init_args": {name: _changed(value, instead[name]) for name, value in arguments.items()}}


def _is_given(argument: str, options: Iterable[str]) -> bool:
    """Whether an argument of the model is not asked for: it is on the command line, or for `fit` alone."""
    return argument in ARGUMENTS_OF_FIT or any(one.startswith(f"--model.init_args.{argument}") for one in options)


def _changed(settings: Any, instead: Mapping[str, Any]) -> Any:
    """Settings with other values for some of the arguments that they have; so too those of several objects by name."""
    if not isinstance(settings, dict):
        return settings
    inner = settings.get("init_args")
    if not isinstance(inner, dict):
        return (
            {name: _changed(one, instead) for name, one in settings.items()}
            if "class_path" not in settings
            else settings
        )
    return settings | {"init_args": inner | {key: value for key, value in instead.items() if key in inner}}


def _data(checkpoint: Path) -> dict[str, Any]:
    file = find_config(checkpoint)
    found = read_config(file).get("data") if file is not None else None
    return found if isinstance(found, dict) else {"class_path": "lightning_embed.EmbeddingDataModule"}
