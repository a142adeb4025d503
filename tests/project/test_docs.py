"""What the documents name exists: files, tests, links, commands, make targets and the package's dotted names."""

import ast
import re
import tomllib
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest
import yaml

from lightning_embed.__main__ import COMMANDS
from tests.test_layout import ARROWS

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "lightning_embed"
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in [
        *sorted(ROOT.glob("docs/*.md")),
        *(ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "CHANGELOG", "SECURITY")),
    ]
}
PLACES = (ROOT, PACKAGE, ROOT / "examples" / "recipe")
"""Where the path of a Python or YAML file may begin."""
OF_A_RUN = {"config.yaml", "stage.yaml", "mine.yaml", "job.yaml"}
"""YAML files that users and runs write."""
OF_OTHERS = {"hn_mine.py", "convert_hf_to_gguf.py"}
"""Scripts of FlagEmbedding and llama.cpp."""
OLD = "CHANGELOG.md"
"""Names what is no longer there, too."""


def current(page: str) -> str:
    """A page without the column of old names in its tables."""
    return re.sub(r"^\| `[^|]*\|", "|", PAGES[page], flags=re.M) if page == OLD else PAGES[page]


@cache
def defined_tests() -> dict[str, set[str]]:
    """Test -> files that define it, seen from the root."""
    found: dict[str, set[str]] = {}
    for file in ROOT.glob("tests/**/test_*.py"):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef):
                found.setdefault(node.name, set()).add(file.relative_to(ROOT).as_posix())
    return found


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives a page's headings."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", text, flags=re.S | re.M), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_every_file_that_a_page_names_is_there(page: str) -> None:
    named = set(re.findall(r"(?<![\w/$.*<-])((?:[\w.-]+/)*\.?[a-z][\w-]*\.(?:py|yaml|yml))\b", current(page)))
    tops = "|".join(re.escape(path.name) for path in ROOT.iterdir() if path.is_dir() and path.name != "runs")
    named |= set(re.findall(rf"(?<![\w/.])((?:{tops})/[\w./-]*\w\.\w+)", current(page)))
    named |= set(re.findall(r"`(Makefile|pyproject\.toml|constraints\.txt|[A-Z]+\.md|\.ci/run)`", current(page)))
    missing = [name for name in sorted(named) if not any((place / name).exists() for place in PLACES)]
    elsewhere = [name for name in missing if "/" not in name and any(PACKAGE.rglob(name))]
    assert [name for name in missing if Path(name).name not in OF_A_RUN | OF_OTHERS and name not in elsewhere] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_test_that_a_page_names_is_in_the_file_named_with_it(page: str) -> None:
    defined = defined_tests()
    for item in re.split(r"\n(?=\n| *- )", PAGES[page]):
        file = ""
        for path, name in re.findall(r"`(tests/[\w/]+\.py)`|`(test_\w+)`", item):
            file = path or file
            files = defined.get(name, set())
            assert not name or (file in files if file else files), f"{name} is not in {file or 'any file'}"


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)]+)\)|src=\"([^\"]+)\"", PAGES[page]):
        link, _, anchor = (target[0] or target[1]).partition("#")
        if "://" in link:
            continue
        file = (ROOT / page).parent / link if link else ROOT / page
        assert file.exists(), link
        assert not anchor or anchor in anchors(file.read_text(encoding="utf-8")), f"{link}#{anchor}"


@pytest.mark.parametrize("page", PAGES)
def test_every_dotted_name_of_the_package_can_be_imported(page: str) -> None:
    for name in set(re.findall(r"(?<![\w./-])lightning_embed((?:\.[A-Za-z_]\w*)+)", current(page))):
        found = import_module("lightning_embed")
        for part in name.split(".")[1:]:
            found = getattr(found, part, None) or import_module(f"{found.__name__}.{part}")


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.M))


@pytest.mark.parametrize("page", PAGES)
def test_every_command_and_make_target_is_there(page: str) -> None:
    commands = set(re.findall(r"-m lightning_embed ([a-z_]+)", PAGES[page]))
    assert commands - set(COMMANDS) == set()
    named = re.findall(r"(?:`|^)make ([a-z][a-z -]*)", PAGES[page], flags=re.M)
    assert {target for line in named for target in line.split()} - make_targets() == set()


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/architecture.md"])
def test_imports_point_down_the_floor_plan(page: str) -> None:
    lines = re.findall(r"^ ?(\d+)  (\S.*)$", PAGES[page], flags=re.M)
    floor = {room: int(number) for number, rooms in lines for room in rooms.split()}
    assert set(floor) == set(ARROWS)
    arrows = [(room, below) for room, allowed in ARROWS.items() for below in allowed.split()]
    assert [(room, below) for room, below in arrows if floor[below] >= floor[room]] == []


def test_the_tree_shows_every_room_and_nothing_else() -> None:
    tree = re.findall(r"^((?:│   |    )*)[├└]── (\S+)  ", PAGES["docs/architecture.md"], flags=re.M)
    shown, room = set(), ""
    for indent, name in tree:
        room = room if indent else name
        shown.add(f"{room}{name}" if indent else name)
    files = {path.name for path in PACKAGE.glob("*.py") if not path.name.startswith("__")}
    folders = {path.parent.relative_to(PACKAGE).as_posix() + "/" for path in PACKAGE.glob("*/**/__init__.py")}
    assert shown == files | folders | {"presets/"}


def test_the_workflow_runs_what_there_is_on_every_supported_python() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
    steps = [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]
    targets = make_targets()
    assert all((ROOT / step).is_file() if "/" in step else step.split()[1] in targets for step in steps)
    oldest = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["requires-python"]
    assert f">={workflow['jobs']['pinned']['strategy']['matrix']['python'][0]}" == oldest
