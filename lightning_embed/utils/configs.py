"""Configurations as plain data: read from a file, and the arguments in them however they are written."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning_embed.errors import UserError, in_one_line


def read_config(file: Path) -> dict[str, Any]:
    """A run's configuration.

    Args:
        file: YAML, such as the config.yaml that `fit` wrote.

    Raises:
        UserError: It cannot be read, or holds something else.
    """
    import yaml

    try:
        settings = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"{file}: the configuration cannot be read ({in_one_line(error)})") from None
    if not isinstance(settings, dict):
        raise UserError(f"{file}: expected a run's configuration, got {type(settings).__name__}")
    return settings


def arguments_of(value: Any) -> Mapping[str, Any]:
    """The arguments of an object in a configuration, with its class named (`class_path`, `init_args`) or without.

    Args:
        value: A mapping; anything else has none.
    """
    if not isinstance(value, Mapping):
        return {}
    return value.get("init_args") or {} if "class_path" in value or "init_args" in value else value
