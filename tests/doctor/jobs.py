"""Jobs for the doctor, and the commands that a user types."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.commands import run


def words(count: int, first: int = 0) -> str:
    """A text of so many words, which the toys' tokenizer makes count + 2 tokens of."""
    return " ".join(f"w{(first + i) % 200}" for i in range(count))


def put(file: Path, rows: list[dict[str, Any]]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def found(settings: dict[str, Any], folder: Path, *more: str) -> dict[str, Any]:
    """What `--json` writes."""
    run("doctor", settings, folder, "--json", str(folder / "found.json"), *more)
    return json.loads((folder / "found.json").read_text())


def refused(command: str, settings: dict[str, Any], folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as stop:
        run(command, settings, folder)
    assert stop.value.code == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    return errors[0]


def warned(job: dict[str, Any], folder: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    run("doctor", job, folder)
    return [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning: ")]
