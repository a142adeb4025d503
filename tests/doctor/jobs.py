"""Jobs for the doctor, and the commands that a user types."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml


def words(count: int, first: int = 0) -> str:
    """A text of so many words, which the toys' tokenizer makes count + 2 tokens of."""
    return " ".join(f"w{(first + i) % 200}" for i in range(count))


def put(file: Path, rows: list[dict[str, Any]]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def main(command: str, settings: dict[str, Any], folder: Path, *more: str) -> None:
    from lightning_embed.__main__ import main as command_line

    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(settings))
    arguments, environment = list(sys.argv), dict(os.environ)
    os.environ.pop("LIGHTNING_EMBED_RUN", None)
    try:
        command_line([command, "--config", str(file), *more])
    finally:
        sys.argv = arguments
        os.environ.clear()
        os.environ.update(environment)


def found(settings: dict[str, Any], folder: Path, *more: str) -> dict[str, Any]:
    """What `--json` writes."""
    main("doctor", settings, folder, "--json", str(folder / "found.json"), *more)
    return json.loads((folder / "found.json").read_text())


def refused(command: str, settings: dict[str, Any], folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as stop:
        main(command, settings, folder)
    assert stop.value.code == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    return errors[0]


def warned(job: dict[str, Any], folder: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    main("doctor", job, folder)
    return [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning: ")]
