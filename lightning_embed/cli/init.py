"""`python -m lightning_embed init`: a first configuration for a user's own files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning_embed.cli.parser import ToolParser, run_function, tool_parser
from lightning_embed.compat.jsonargparse import load_yaml
from lightning_embed.starting.run import write_job


def parser() -> ToolParser:
    """The command's arguments, which are those of `write_job`."""
    made = tool_parser(
        "init",
        "Looks at your files and writes a commented job.yaml for them, which `doctor`, `cache` and `fit` take as it is.",
        [write_job],
    )
    made.add_argument(
        "files",
        nargs="+",
        type=str,
        metavar="FILE",
        help="a file, a folder in BEIR's layout, a hub id, or a source's settings: '{path: a.csv, delimiter: \";\"}'",
    )
    made.add_function_arguments(write_job, skip={"files"})
    return made


def source(word: str) -> str | Mapping[str, Any]:
    """A path as it was typed, or a source's settings if it is a mapping in YAML.

    Args:
        word: From the command line.
    """
    if not word.lstrip().startswith("{"):
        return word
    try:
        loaded = load_yaml(word)
    except ValueError:
        return word
    return loaded if isinstance(loaded, Mapping) else word


def run(arguments: list[str]) -> None:
    """Runs the command.

    Args:
        arguments: What follows its name.
    """

    def with_settings(files: list[str], **settings: Any) -> None:
        write_job([source(file) for file in files], **settings)

    run_function(parser(), with_settings, arguments, "nothing was written")
