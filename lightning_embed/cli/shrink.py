"""`python -m lightning_embed shrink`: a first student, cut from a larger model."""

from __future__ import annotations

from lightning_embed.cli.parser import ToolParser, run_function, tool_parser
from lightning_embed.shrinking.run import shrink


def parser() -> ToolParser:
    """The command's arguments, which are those of `shrink`."""
    made = tool_parser(
        "shrink", "Cuts a model down to a first student, and says what each cut costs and saves.", [shrink]
    )
    made.add_argument("model", type=str, help="a folder, pip:NAME or a Hugging Face id")
    made.add_argument("out", type=str, help="folder to write")
    made.add_function_arguments(shrink, skip={"model", "out"})
    return made


def run(arguments: list[str]) -> None:
    """Runs the command.

    Args:
        arguments: What follows its name.
    """
    run_function(parser(), shrink, arguments, "nothing was written")
