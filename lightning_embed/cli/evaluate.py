"""`python -m lightning_embed evaluate`: models on tasks, in every size and precision."""

from __future__ import annotations

from lightning_embed.cli.parser import ToolParser, run_function, tool_parser
from lightning_embed.evaluation.run import PRECISIONS, evaluate


def parser() -> ToolParser:
    """The command's arguments, which are those of `evaluate`."""
    made = tool_parser(
        "evaluate",
        "Scores models on mteb tasks and on your own files, in every size and precision.",
        [evaluate],
    )
    made.add_argument(
        "models",
        nargs="+",
        type=str,
        help="[NAME=]MODEL: an exported folder, a checkpoint, an adapter, pip:NAME, a hub id; stored:NAME: vectors of "
        "`cache --import`; mapped:NAME:MODEL: a model mapped to these; A+B: queries by A, documents by B",
    )
    made.add_argument(
        "--tasks",
        nargs="+",
        type=str,
        required=True,
        help="mteb's names, or [NAME=][KIND:]PATH[,PATH] of your own files",
    )
    made.add_argument("--dims", nargs="+", type=int, help="sizes to truncate to; unset: D, D/2, ... down to 32")
    made.add_argument(
        "--precisions", nargs="+", type=str, default=list(PRECISIONS), help=f"some of {', '.join(PRECISIONS)}"
    )
    made.add_function_arguments(evaluate, skip={"models", "tasks", "dims", "precisions"})
    return made


def run(arguments: list[str]) -> None:
    """Runs the command.

    Args:
        arguments: What follows its name.
    """
    run_function(parser(), evaluate, arguments, "the same command resumes it")
