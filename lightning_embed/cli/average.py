"""`python -m lightning_embed average`: several checkpoints of a run as one, with the mean of their weights."""

from __future__ import annotations

from lightning_embed.checkpoints.averaging import average_checkpoints
from lightning_embed.cli.parser import ToolParser, run_function, tool_parser


def parser() -> ToolParser:
    """The command's arguments, which are those of `average_checkpoints`."""
    made = tool_parser(
        "average",
        "Averages the weights of checkpoints of one student, such as the last and an earlier one.",
        [average_checkpoints],
    )
    made.add_argument("checkpoints", nargs="+", type=str, help="two or more .ckpt files, or folders of sharded ones")
    made.add_function_arguments(average_checkpoints, skip={"checkpoints"})
    return made


def run(arguments: list[str]) -> None:
    """Runs the command.

    Args:
        arguments: What follows its name.
    """
    run_function(parser(), average_checkpoints, arguments, "nothing was left behind")
