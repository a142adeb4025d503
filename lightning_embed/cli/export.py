"""`python -m lightning_embed export`: a checkpoint's student as a folder that other programs read; `export --check` says who reads a
folder, `export --push` publishes one."""

from __future__ import annotations

from lightning_embed.cli.parser import ToolParser, run_function, tool_parser
from lightning_embed.export.push import push_folder
from lightning_embed.export.run import export_model


def parser() -> ToolParser:
    """The command's arguments, which are those of `export_model`."""
    made = tool_parser(
        "export",
        "Writes a checkpoint's student as a sentence-transformers folder, and proves that it gives the same vectors. "
        "`export --check FOLDER` writes nothing, and says who reads a folder as it is meant. `export --push FOLDER owner/name` publishes a "
        "folder on the Hugging Face hub.",
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


def check_parser() -> ToolParser:
    """The arguments of `export --check`."""
    made = tool_parser("export --check", "Says who reads a model's folder as it is meant; nothing is written.", [check])
    made.add_argument("folder", type=str, help="of a sentence-transformers model, anybody's")
    return made


def push_parser() -> ToolParser:
    """The arguments of `export --push`."""
    made = tool_parser(
        "export --push", "Publishes an exported folder on the Hugging Face hub, in one commit.", [push_folder]
    )
    made.add_argument("folder", type=str, help="what `export` wrote, a model or an adapter")
    made.add_argument("repo", type=str, help="owner/name on the hub; it is made if there is none")
    made.add_function_arguments(push_folder, skip={"folder", "repo"})
    return made


def check(folder: str) -> None:
    """Prints a line for each reader.

    Args:
        folder: Of a sentence-transformers model.
    """
    from lightning_embed.export.readers import check_folder

    print("\n".join(check_folder(folder)))


def run(arguments: list[str]) -> None:
    """Runs the command.

    Args:
        arguments: What follows its name.
    """
    if arguments[:1] == ["--check"]:
        run_function(check_parser(), check, arguments[1:], "nothing was checked")
        return
    if arguments[:1] == ["--push"]:
        run_function(push_parser(), push_folder, arguments[1:], "nothing was pushed")
        return
    run_function(parser(), export_model, arguments, "nothing was left behind")
