"""`python -m lightning_embed mine`: hard negatives for a source, found by a model."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from lightning_embed.cli.parser import ToolParser, run_function, tool_parser
from lightning_embed.compat.jsonargparse import reading_attributes
from lightning_embed.mining.processes import Companions
from lightning_embed.mining.rules import Rules
from lightning_embed.mining.run import mine
from lightning_embed.mining.settings import BadRowSettings, ModelSettings, OutputSettings, SearchSettings, WorkSettings

GROUPS: dict[str, type] = {
    "rules": Rules,
    "models": ModelSettings,
    "search": SearchSettings,
    "output": OutputSettings,
    "work": WorkSettings,
    "bad_rows": BadRowSettings,
}
"""Arguments of `mine` that are groups of settings; on the command line and in YAML each setting goes by its own name."""


def parser() -> ToolParser:
    """The command's settings: the arguments of `mine`, and those of its groups."""
    made = tool_parser(
        "mine",
        "Finds hard negatives for a source's pairs.",
        [mine, *GROUPS.values()],
    )
    made.allow_abbrev = False  # --shard is not --shards
    with reading_attributes():
        made.add_function_arguments(mine, skip={"companions", *GROUPS})
    for group in GROUPS.values():
        made.add_class_arguments(group)
    return made


def run(arguments: list[str]) -> None:
    """Runs the command, and the processes of its other shards.

    Args:
        arguments: What follows its name.
    """

    def shared(**settings: Any) -> None:
        alone = settings["shard"] is not None
        companions = Companions(run, arguments, 1 if alone else settings["shards"])
        groups = {
            name: kind(**{field.name: settings.pop(field.name) for field in fields(kind)})
            for name, kind in GROUPS.items()
        }
        try:
            mine(**settings, **groups, companions=companions)
        finally:
            companions.stop()

    run_function(parser(), shared, arguments, "the same command resumes it")
