"""The rooms of the package, and which of them may import which. CONTRIBUTING.md has the same map in words."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "lightning_embed"

ARROWS = {
    # room: the rooms that it may import, all of them above it in this table
    "errors": "",
    "utils": "errors",
    "compat": "",
    "schedulers": "errors utils",
    "distributed": "errors utils compat",  # a sharded checkpoint is a folder that is whole or not there
    "heads": "errors utils",
    "batch": "errors utils distributed heads",  # utils: the name of a lone teacher
    "losses": "errors utils distributed heads batch",
    "testing": "heads batch losses",
    "tokenizer": "errors batch",
    "encoders": "errors utils compat distributed heads batch tokenizer",
    "datamodules": "errors utils compat batch losses tokenizer",
    "training": "errors utils compat schedulers distributed heads batch losses encoders",
    "checkpoints": "errors utils compat distributed encoders",
    "mining": "errors utils compat batch encoders datamodules",
    "evaluation": "errors utils compat distributed heads batch encoders datamodules checkpoints",  # ψ: to the teacher's space
    "export": "errors utils compat heads encoders datamodules checkpoints evaluation",  # datamodules: which data are the hub's
    "shrinking": "errors utils batch tokenizer encoders datamodules evaluation export",
    "module": "errors utils compat schedulers heads batch losses tokenizer encoders training checkpoints evaluation",
    # training: how many steps a run has
    "callbacks": "errors utils compat distributed heads batch encoders datamodules training checkpoints evaluation export module",
    "caching": "errors utils compat encoders datamodules module",
    "doctor": "errors utils compat batch losses tokenizer encoders datamodules training module callbacks",
    "starting": "errors utils batch losses tokenizer encoders datamodules evaluation doctor shrinking",
    # doctor: how long texts are and which repeat; shrinking: layers at equal distances
    "recipe": "errors utils encoders datamodules evaluation export",
    "cli": "errors utils compat schedulers distributed losses datamodules training checkpoints mining evaluation export module"
    " callbacks caching doctor recipe shrinking starting",
    "__main__": "errors utils cli",
}


def imports() -> Iterator[tuple[Path, str, int]]:
    """(file, dotted name, line) of every import within the package, those in functions and for type checkers included."""
    for file in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            for name in names:
                if name.startswith("lightning_embed."):
                    yield file, name, node.lineno  # type: ignore[attr-defined]


def room_of(file: Path) -> str:
    return file.relative_to(PACKAGE).with_suffix("").parts[0]


def file_of(name: str) -> Path | None:
    """The module's file of a dotted name, which may end in something that the module defines."""
    for dotted in (name, name.rpartition(".")[0]):
        path = ROOT / dotted.replace(".", "/")
        for file in (path / "__init__.py", path.with_suffix(".py")):
            if file.is_file():
                return file
    return None


def test_the_root_holds_eight_files_at_most_and_every_room_is_in_the_table() -> None:
    rooms = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert rooms - {"__init__"} == set(ARROWS)
    assert len(list(PACKAGE.glob("*.py"))) <= 8


def test_the_table_has_no_circle() -> None:
    above: set[str] = set()
    for room, allowed in ARROWS.items():
        assert set(allowed.split()) <= above, room
        above.add(room)


def test_every_room_imports_only_what_the_table_allows() -> None:
    wrong = [
        f"{file.relative_to(ROOT)}:{line}: {room_of(file)} must not import {name}"
        for file, name, line in imports()
        if room_of(file) not in ("__init__", room := name.split(".")[1]) and room not in ARROWS[room_of(file)].split()
    ]
    assert not wrong, "\n".join(wrong)


def test_no_files_import_each_other_in_a_circle() -> None:
    graph: dict[Path, set[Path]] = {}
    for file, name, _ in imports():
        other = file_of(name)
        if file.name != "__init__.py" and other not in (None, file):
            graph.setdefault(file, set()).add(other)  # type: ignore[arg-type]
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the files
