"""What a user's type checker sees of the package as it is installed: mypy and pyright over a project that uses all of it."""

import inspect
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import lightning_embed

ROOT = Path(__file__).resolve().parents[2]
CONSUMER = Path(__file__).parent / "consumer"
ROOMS = sorted(file.parent.name for file in (ROOT / "lightning_embed").glob("*/__init__.py"))


class Finding(NamedTuple):
    file: str
    line: int
    error: bool
    message: str


class Name(NamedTuple):
    """A public class or function, and how it is imported."""

    dotted: str
    value: Any


def public_names() -> Iterator[Name]:
    """Those of the root and of each room."""
    for module in [lightning_embed, *(import_module(f"lightning_embed.{room}") for room in ROOMS)]:
        for name in getattr(module, "__all__", []):
            value = getattr(module, name)
            if inspect.isclass(value) or inspect.isfunction(value):
                yield Name(f"{module.__name__}.{name}", value)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The consumer's project, the examples, and a file that reveals the type of every public name, one in a line."""
    folder = tmp_path_factory.mktemp("typing") / "consumer"
    shutil.copytree(CONSUMER, folder)
    (folder / "examples").mkdir()
    for example in ("custom_loss.py", "custom_module.py"):
        shutil.copy(ROOT / "examples" / example, folder / "examples")
    names = [name.dotted for name in public_names()]
    lines = [f"import {module}" for module in sorted({name.rpartition(".")[0] for name in names})]
    lines += [f"reveal_type({name})" for name in names]
    (folder / "names.py").write_text("\n".join(lines) + "\n")
    return folder


def call(project: Path, *words: str) -> str:
    """Runs a checker in the project; the package is found as an installed one is, on the interpreter's path."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", *words], cwd=project, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stdout + done.stderr  # 1: there are mistakes in mistakes.py
    return done.stdout


def by_mypy(project: Path) -> list[Finding]:
    """The cache stays in the repository: without it mypy reads torch for half a minute."""
    cache = ROOT / ".mypy_cache" / "consumer"
    lines = call(project, "mypy", "--output=json", f"--cache-dir={cache}", ".").splitlines()
    found = [json.loads(line) for line in lines if line.startswith("{")]
    return [Finding(one["file"], one["line"], one["severity"] == "error", one["message"]) for one in found]


def by_pyright(project: Path) -> list[Finding]:
    found = json.loads(call(project, "pyright", "--outputjson", "--pythonpath", sys.executable, "."))
    return [
        Finding(
            Path(one["file"]).relative_to(project.resolve()).as_posix(),
            one["range"]["start"]["line"] + 1,
            one["severity"] != "information",
            one["message"],
        )
        for one in found["generalDiagnostics"]
    ]


def revealed(project: Path, findings: list[Finding]) -> dict[str, str]:
    """Public name -> the type that the checker tells."""
    lines = (project / "names.py").read_text().splitlines()
    return {
        lines[one.line - 1].removeprefix("reveal_type(").removesuffix(")"): one.message
        for one in findings
        if one.file == "names.py"
    }


def check_errors(project: Path, findings: list[Finding]) -> None:
    """The mistakes are found, each on its line, and nothing else is an error."""
    lines = (project / "mistakes.py").read_text().splitlines()
    expected = {number for number, line in enumerate(lines, start=1) if line.endswith("# error")}
    errors = [one for one in findings if one.error]
    assert [one for one in errors if one.file != "mistakes.py"] == []
    assert {one.line for one in errors} == expected


@pytest.mark.slow
def test_mypy_finds_the_mistakes_of_a_strict_user_and_knows_every_public_name(project: Path) -> None:
    findings = by_mypy(project)
    check_errors(project, findings)
    types = revealed(project, findings)
    for name in public_names():
        told = types[name.dotted]
        if inspect.isclass(name.value):
            assert f"{name.value.__module__}.{name.value.__qualname__}" in told.rpartition("-> ")[2], told
        else:
            assert told.startswith('Revealed type is "def ') and not told.endswith('-> Any"'), f"{name.dotted}: {told}"
            assert all(f"{argument}:" in told for argument in inspect.signature(name.value).parameters), told


def test_pyright_finds_the_mistakes_of_a_strict_user_and_knows_every_public_name(project: Path) -> None:
    findings = by_pyright(project)
    check_errors(project, findings)
    types = revealed(project, findings)
    for name in public_names():
        told = types[name.dotted].partition('" is "')[2]
        if inspect.isclass(name.value):
            assert told == f'type[{name.value.__name__}]"', name.dotted
        else:
            assert told.startswith("(") and "Unknown" not in told, f"{name.dotted}: {told}"
            assert all(f"{argument}:" in told for argument in inspect.signature(name.value).parameters), told
