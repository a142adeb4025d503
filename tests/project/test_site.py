"""The documentation site: every page can be reached, every public thing is in the reference, and what is broken fails the build."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import lightning_embed
from lightning_embed.__main__ import COMMANDS
from scripts.docs.api import introduction, public_names
from scripts.docs.build import faults
from scripts.docs.commands import definition, help_text, sections
from scripts.docs.pages import DOCUMENTS, ROOT, place, stage_pages
from scripts.docs.settings import SECTIONS, keys, losses

NAV = tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))["project"]["nav"]


def pages_of(entries: list[Any]) -> Iterator[str]:
    for entry in entries:
        if isinstance(entry, str):
            yield entry
        else:
            for value in entry.values():
                yield from pages_of(value if isinstance(value, list) else [value])


def test_the_navigation_has_every_page_once_and_no_other() -> None:
    documents = [*DOCUMENTS, *(path.relative_to(ROOT).as_posix() for path in ROOT.glob("docs/*.md"))]
    reference = ["commands", "settings", "api/index", *(f"api/{room}" for room in public_names())]
    assert sorted(pages_of(NAV)) == sorted([*map(place, documents), *(f"reference/{name}.md" for name in reference)])


def test_every_public_name_is_in_the_reference_with_an_introduction_of_its_room() -> None:
    rooms = public_names()
    names = [name for room, found in rooms.items() if room != "testing" for name in found]
    assert sorted(names) == sorted(set(lightning_embed.__all__) - {"__version__"})
    assert [room for room in rooms if not introduction(room)] == []


def test_every_loss_is_among_the_yaml_keys_and_every_key_is_explained() -> None:
    assert {"InfoNCE", "GOR", "Matryoshka"} <= {loss.__name__ for loss in losses()}
    classes = [kind for _, kinds in SECTIONS.values() for kind in kinds] + losses()
    unexplained = [f"{kind.__name__}.{name}" for kind in classes for name, _, _, about in keys(kind) if not about]
    assert unexplained == []


def test_every_link_of_a_staged_page_leads_to_a_staged_file(tmp_path: Path) -> None:
    stage_pages(tmp_path)
    staged = list(tmp_path.rglob("*.md"))
    assert {"index.md", "losses.md", "project/changelog.md", "files/examples/static_queries.yaml.md"} <= {
        path.relative_to(tmp_path).as_posix() for path in staged
    }
    for page in staged:
        if "files" in page.parts:
            continue
        for link in re.findall(r"\]\(([^)#\s]+)|src=\"([^\"]+)\"", page.read_text(encoding="utf-8")):
            target = link[0] or link[1]
            assert "://" in target or (page.parent / target).exists(), f"{page.relative_to(tmp_path)}: {target}"


def test_the_options_of_a_command_are_read_from_its_help() -> None:
    found = {written: about for section in sections(help_text("average")) for written, about in section.options}
    assert [written.split()[0] for written in found] == ["checkpoints", "--config", "--out", "--overwrite"]
    assert (
        definition("--out OUT", found["--out OUT"])
        == "`--out OUT`\n:   The checkpoint to write. *Type* `str`, required."
    )


def test_what_markdown_would_take_as_markup_is_shown_as_it_is() -> None:
    about = "`a_b` and c_d, [NAME=][KIND:]PATH or *.jsonl (type: str | null, default: null)"
    shown = r"`a_b` and c\_d, \[NAME=]\[KIND:]PATH or \*.jsonl"
    assert definition("--x X, --x+ X", about) == f"`--x X`\n:   {shown} *Type* `str | null`, *default* `null`."


def test_an_asset_that_is_missing_or_of_another_host_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "there.png").touch()
    page = '<img src="there.png"><img src="gone.png"><script src="https://cdn.example/x.js"></script><a href="https://example.org">'
    (tmp_path / "page.html").write_text(page)
    (tmp_path / "style.css").write_text(
        "a { background: url(//fonts.example/a.woff) } b { mask: url('data:image/svg+xml,x') }"
    )
    assert faults(tmp_path) == [
        "page.html: gone.png",
        "page.html: https://cdn.example/x.js",
        "style.css: //fonts.example/a.woff",
    ]


def build(folder: Path, **broken: str) -> subprocess.CompletedProcess[str]:
    """Builds the site of a copy of the repository, with lines added to some of its guides."""
    for name in ("lightning_embed", "docs", "examples", "scripts"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in (*DOCUMENTS, "zensical.toml"):
        shutil.copy(ROOT / name, folder)
    for page, line in broken.items():
        with (folder / "docs" / f"{page}.md").open("a", encoding="utf-8") as file:
            file.write(f"\n{line}\n")
    command = [sys.executable, "-m", "scripts.docs.build"]
    environment = os.environ | {"PYTHONPATH": str(folder)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.slow
def test_the_site_builds_without_a_fault_and_shows_every_command_and_name(tmp_path: Path) -> None:
    built = build(tmp_path)
    assert built.returncode == 0, built.stdout + built.stderr
    assert "No issues found" in built.stdout + built.stderr
    commands = (tmp_path / "site/reference/commands.html").read_text(encoding="utf-8")
    assert [command for command in COMMANDS if f'id="{command}"' not in commands] == []
    for room, names in public_names().items():
        page = (tmp_path / f"site/reference/api/{room}.html").read_text(encoding="utf-8")
        assert [name for name in names if not re.search(rf'id="lightning_embed\.(?:\w+\.)?{name}"', page)] == []


@pytest.mark.slow
def test_a_broken_anchor_or_reference_fails_the_build(tmp_path: Path) -> None:
    built = build(tmp_path, faq="[here](data.md#no-such-heading)", data="[that][lightning_embed.NoSuchName]")
    assert built.returncode == 1
    assert "2 issues found" in built.stdout + built.stderr
