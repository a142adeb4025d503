"""`python -m lightning_embed export`: a checkpoint's student as a folder that other programs read."""

from __future__ import annotations

from lightning_embed.cli.parser import ToolParser, run_function, tool_parser
from lightning_embed.export.run import export_model


def parser() -> ToolParser:
    """The command's arguments, which are those of `export_model`."""
    made = tool_parser(
        "export",
        "Writes a checkpoint's student as a sentence-transformers folder, and proves that it gives the same vectors.",
        [export_model],
    )
    made.add_argument(
        "checkpoint",
        type=str,
        nargs="+",
        help="a .ckpt of a run, a file or a sharded folder, or the folder of a model; TASK=CHECKPOINT for several adapters",
    )
    made.add_argument("out", type=str, help="folder to write")
    made.add_function_arguments(export_model, skip={"checkpoint", "out"})
    return made


def run(arguments: list[str]) -> None:
    """Runs the command.

    Args:
        arguments: What follows its name.
    """
    run_function(parser(), export_model, arguments, "nothing was left behind")
