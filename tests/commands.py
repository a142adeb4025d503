"""Runs a command in this process, as a user types it."""

from pathlib import Path
from typing import Any

import yaml


def run(command: str, settings: dict[str, Any], folder: Path, *words: str) -> None:
    """Writes the settings as YAML and runs a command on them.

    Args:
        command: `fit` or another that takes its configuration.
        settings: The configuration.
        folder: Where config.yaml is written.
        words: The rest of the command line.
    """
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(settings))
    run_words(command, "--config", str(file), *words)


def run_words(*words: str) -> None:
    """Runs a command line.

    Args:
        words: What follows the program's name.
    """
    from lightning_embed.__main__ import main

    main(list(words))
