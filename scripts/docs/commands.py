"""Reference page of the command line: every command's options, read from its `--help`."""

import io
import os
import re
import sys
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

from lightning_embed.__main__ import COMMANDS, main
from scripts.docs.pages import write

TYPE = re.compile(r"\s*\((required, )?type: (.*?)(?:, default: (.*?))?(?:, known subclasses: .*)?\)$")
NOISE = re.compile(r"--help|--print_config|--[\w.]+\.help\b")
"""Options that each command has, or that print the help of a class."""


@dataclass
class Section:
    """Options under one heading of a help text."""

    title: str
    options: list[tuple[str, str]] = field(default_factory=list)
    """(how it is written, what it does)."""


def help_text(command: str) -> str:
    """What `python -m lightning_embed COMMAND --help` prints, unwrapped.

    Args:
        command: Its name.
    """
    words, out = [command, "--help"], io.StringIO()
    with patch.object(sys, "argv", ["lightning_embed", *words]), patch.dict(os.environ, COLUMNS="100000"):
        try:
            with redirect_stdout(out):
                main(words)
        except SystemExit as end:
            if end.code:
                raise
    return out.getvalue()


def sections(text: str) -> list[Section]:
    """The options of a help text by their headings; what comes before the first heading is left out.

    Args:
        text: A help text whose lines are not wrapped.
    """
    found: list[Section] = []
    for line in text.splitlines():
        if re.match(r"\S.*:$", line):
            found.append(Section(line.removesuffix(":")))
        elif found and re.match(r"  \S", line):
            written, _, about = line.strip().partition("  ")
            found[-1].options.append((written, about.strip()))
        elif found and found[-1].options and line.strip():
            written, about = found[-1].options[-1]
            found[-1].options[-1] = written, f"{about} {line.strip()}".strip()
    for section in found:
        section.options = [
            option
            for option in section.options
            if not NOISE.search(option[0]) and option[1] != "Path to a configuration file."
        ]
    return [section for section in found if section.options]


def stage_commands(folder: Path) -> None:
    """Writes `reference/commands.md`; a section that a command shares with one above it is a link there.

    Args:
        folder: The site's pages.
    """
    page = [
        "# Commands",
        "`python -m lightning_embed COMMAND`. `--config FILE` gives the same settings as YAML, several times if need be.",
    ]
    shown: dict[str, str] = {}
    for command, about in COMMANDS.items():
        page += [f"## {command}", f"{about[0].upper()}{about[1:]}."]
        for section in sections(help_text(command)):
            body = "\n\n".join(definition(*option) for option in section.options)
            title = escaped(section.title[0].upper() + section.title[1:])
            if body in shown:
                page.append(f"**{title}**: as for [{shown[body]}](#{shown[body]}).")
            else:
                shown[body] = command
                page += [f"**{title}**", body]
    write(folder / "reference" / "commands.md", "\n\n".join(page) + "\n")


def definition(written: str, about: str) -> str:
    """An option as an item of a definition list.

    Args:
        written: Its name and what follows it.
        about: Its help, with its type at the end.
    """
    form = re.search(TYPE, about)
    text = escaped(TYPE.sub("", about).replace("``", "`"))
    kind = ""
    if form:
        kind = f" *Type* `{form[2]}`" + (
            ", required." if form[1] else "." if form[3] is None else f", *default* `{form[3]}`."
        )
    names = re.sub(r", --\S+\+ .*", "", written)  # the form that appends to a list
    return f"`{names}`\n:   {text}{kind}".replace("`` ", "`''` ").replace("``.", "`''`.")


def escaped(text: str) -> str:
    """Plain text as Markdown that shows it as it is, but for code in backticks.

    Args:
        text: A help text.
    """
    parts = text.split("`")
    return "`".join(part if i % 2 else re.sub(r"([\\*_\[<])", r"\\\1", part) for i, part in enumerate(parts))
