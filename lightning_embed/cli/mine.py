"""`python -m lightning_embed mine`: hard negatives for a source, found by a model."""

from __future__ import annotations

from typing import Any

from lightning_embed.cli.parser import ToolParser, run_function
from lightning_embed.mining.processes import Companions
from lightning_embed.mining.run import mine


def parser() -> ToolParser:
    """The command's settings, which are the arguments of `mine`."""
    made = ToolParser(
        prog="python -m lightning_embed mine",
        allow_abbrev=False,
        description="Finds hard negatives for a source's pairs.",
    )
    made.add_argument("--config", action="config", help="settings as YAML")
    made.add_function_arguments(mine, skip={"companions"})
    return made


def run(arguments: list[str]) -> None:
    """Runs the command, and the processes of its other shards.

    Args:
        arguments: What follows its name.
    """

    def shared(**settings: Any) -> None:
        alone = settings["shard"] is not None
        companions = Companions(run, arguments, 1 if alone else settings["shards"])
        try:
            mine(**settings, companions=companions)
        finally:
            companions.stop()

    run_function(parser(), shared, arguments, "the same command goes on where it was")
