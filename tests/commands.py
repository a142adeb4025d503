"""Runs a command in this process, as a user types it."""

import os
import sys
from pathlib import Path
from typing import Any

import yaml


def run(command: str, settings: dict[str, Any], folder: Path, *words: str) -> None:
    """Writes the settings as YAML and runs a command on them; the process's arguments and environment are as before.

    Args:
        command: `fit` or another that takes its configuration.
        settings: The configuration.
        folder: Where config.yaml is written.
        words: What else stands on the command line.
    """
    from lightning_embed.__main__ import main

    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(settings))
    arguments, environment = list(sys.argv), dict(os.environ)
    os.environ.pop("LIGHTNING_EMBED_RUN", None)
    try:
        main([command, "--config", str(file), *words])
    finally:
        sys.argv = arguments
        os.environ.clear()
        os.environ.update(environment)
