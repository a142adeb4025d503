"""`python -m lightning_embed`: picks the command, and loads nothing that the command does not need."""

import sys
from difflib import get_close_matches
from importlib import import_module

from lightning_embed.errors import UserError
from lightning_embed.utils.program import program
from lightning_embed.utils.version import __version__

COMMANDS = {
    "init": "look at your files and write a commented job.yaml for them",
    "fit": "train a student; without arguments: the default job, on this machine's Python documentation",
    "cache": "run the teacher once over all texts of a fit and store its vectors; --verify, --import",
    "doctor": "read a job's configuration and data without training, and say what is wrong with them",
    "validate": "score a checkpoint's student on the validation pairs",
    "test": "score a checkpoint's student on the test pairs",
    "predict": "embed texts into a Parquet or .npy file",
    "evaluate": "score models on mteb tasks and your own files, in every size and precision",
    "export": "write a checkpoint's student as a sentence-transformers folder",
    "average": "write the average of several checkpoints' weights as one checkpoint",
    "mine": "find hard negatives for pairs, as a source to train on",
    "shrink": "cut a first student out of a larger model, and say what each cut costs",
    "recipe": "train a chain of stages, from pretrained weights to an adapter for each task, and score them",
}
TOOLS = ("average", "cache", "doctor", "evaluate", "export", "init", "mine", "recipe", "shrink")
"""Commands with a module of their own in `cli`; the others are LightningCLI's, in `cli.fit`."""


OF_A_JOB = ("fit", "cache", "doctor", "validate", "test", "predict")
"""Commands that take a job's settings, of which there are too many for one page of help."""


def usage() -> str:
    """The overview that `--help` prints."""
    lines = [f"lightning_embed {__version__}: distils a large frozen embedding model into a compact one", ""]
    lines += [f"usage: {program()} COMMAND [--config FILE ...] [--key value ...]", ""]
    lines += [f"  {name:<10}{text}" for name, text in COMMANDS.items()]
    lines += ["", f"{program()} init pairs.jsonl   where to begin with data of your own"]
    lines += [f"{program()} COMMAND --help   the command's settings"]
    lines += [f"{program()} fit --print_config   the default job as YAML", f"{program()} --version"]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Runs a command line.

    Args:
        arguments: What follows the program's name; None: the process's own.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    command = arguments[0] if arguments else "--help"
    if command in ("-h", "--help"):
        print(usage())
    elif command == "--version":
        print(f"lightning_embed {__version__}")
    elif command in OF_A_JOB and (page := _help(command, arguments[1:])) is not None:
        print(page)
    elif command in TOOLS:
        import_module(f"lightning_embed.cli.{command}").run(arguments[1:])
    elif command in COMMANDS:
        from lightning_embed.cli.fit import run

        run(arguments)
    else:
        near = get_close_matches(command, COMMANDS, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        print(f"error: expected a command ({', '.join(COMMANDS)}), got '{command}'{hint}", file=sys.stderr)
        raise SystemExit(2)


def _help(command: str, words: list[str]) -> str | None:
    """What a command line that asks for help gets; None if it does not ask."""
    if not any(word == "-h" or word.startswith("--help") or word.endswith(".help") for word in words):
        return None
    from lightning_embed.cli.help import answer

    try:
        return answer(command, words)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
