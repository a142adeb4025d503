"""What `validate`, `test` and `predict` take from the checkpoint that they are given: its model, and the data of its run."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from lightning_embed.checkpoints.adapters import KEY as ADAPTER
from lightning_embed.checkpoints.rebuild import without_weights
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
    content = read_without_weights(checkpoint)
    file, own = find_config(checkpoint), content.get(KEY)
    if own is not None:
        model = own["model"]
        missing = {
            name: what
            for name, what in own["missing"]["model"].items()
            if name.partition(".")[0] not in ARGUMENTS_OF_FIT
            and not any(option.startswith(f"--model.init_args.{name.partition('.')[0]}") for option in options)
        }
        require_all(missing, checkpoint, "give it as --model.init_args.{}, or use EmbeddingModule.load_from_checkpoint")
    elif file is not None and isinstance(model := read_config(file).get("model"), dict):
        pass
    else:
        raise UserError(
            f"{checkpoint}: an earlier version wrote it, without the settings of its model, and no config.yaml of its run was found; "
            "give it with --config"
        )
    arguments = {name: value for name, value in (model.get("init_args") or {}).items() if name not in ARGUMENTS_OF_FIT}
    for name, value in arguments.items():
        inner = value.get("init_args") if isinstance(value, dict) else None
        if isinstance(inner, dict):
            other = without_weights(name, ADAPTER in content) | ({"shard": False} if name == "teacher" else {})
            known = {key: one for key, one in other.items() if key in inner}
            arguments[name] = value | {"init_args": inner | known}
    return model | {"init_args": arguments}


def _data(checkpoint: Path) -> dict[str, Any]:
    file = find_config(checkpoint)
    found = read_config(file).get("data") if file is not None else None
    return found if isinstance(found, dict) else {"class_path": "lightning_embed.EmbeddingDataModule"}
