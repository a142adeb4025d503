"""`python -m lightning_embed recipe`: a chain of stages, from pretrained weights to an adapter for each task."""

from __future__ import annotations

from lightning_embed.cli.parser import ToolParser, run_function, tool_parser
from lightning_embed.recipe.run import run_recipe


def parser() -> ToolParser:
    """The command's arguments, which are those of `run_recipe`."""
    made = tool_parser(
        "recipe",
        "Trains a chain of stages, each from the student of an earlier one, and scores them. Goes on where it was stopped.",
        [run_recipe],
        "the chain as YAML, e.g. examples/recipe/demo.yaml",
    )
    made.usage = "python -m lightning_embed recipe CHAIN.yaml [--key value ...]"
    made.add_function_arguments(run_recipe)
    return made


def run(arguments: list[str]) -> None:
    """Runs the command.

    Args:
        arguments: What follows its name: the chain's file, and settings that count more than what it says.
    """
    first = [] if not arguments or arguments[0].startswith("-") else ["--config", arguments[0]]
    run_function(parser(), run_recipe, first + arguments[len(first) // 2 :], "the same command resumes it")
