"""What commands share: a parser that reports a mistake in one line, and how a command that is one function runs and ends."""

from __future__ import annotations

import os
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, ClassVar, NoReturn

from jsonargparse import ArgumentParser

from lightning_embed.compat.jsonargparse import replacing_lists
from lightning_embed.errors import UserError, exit_code, in_one_line, user_error
from lightning_embed.utils.program import program
from lightning_embed.utils.signals import Stopped, raising_stopped

WORKER = re.compile(
    r"DataLoader worker \(pid.*?\) (?:is killed by signal: ([\w ]+)|exited unexpectedly)|Pin memory thread exited unexpectedly"
)
"""What torch raises when it finds that a worker process of a data loader ended by itself."""
LOST_BATCH = (ConnectionError, EOFError, FileNotFoundError)
"""What Python raises instead where it was just fetching a batch from the process that ended."""

FORMS = (
    (r"Parser key \"config\": File does not exist: '(.*)'", "{0}: there is no such file"),
    (
        r"Parser key \"(\w+)\": Unable to load config '([^']*)'.*",
        "{0}: there is no file of settings '{1}'; give them by name, as --{0}.NAME",
    ),
    (r"Parser key \"([\w.]+)\"(?: element \d+)?: Expected (.*?)\. Got value: (.*)", "{0}: expected {1}, got {2}"),
)
"""Complaints of jsonargparse, and how they are put here."""
WORDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "a text",
    "list": "a list",
    "dict": "a mapping",
}
"""Types, in a message."""


def fail(message: str, error: Exception | None = None) -> NoReturn:
    """Prints a user's mistake on standard error and exits with code 2, or that of the error.

    Args:
        message: One line.
        error: What was raised.
    """
    print(f"error: {message}", file=sys.stderr, flush=True)
    raise SystemExit(UserError.exit_code if error is None else exit_code(error))


def exit_in_one_line(parser: ArgumentParser, message: str, ex: Exception | None = None) -> NoReturn:
    """The `error` method of a parser: prints one line and exits with code 2.

    Args:
        parser: Whose option the message is about.
        message: What it complains of.
        ex: The exception behind it, if there is one.
    """
    fail(one_line(message, ex, parser))


class ToolParser(ArgumentParser):
    """A parser that reports a mistake in one line."""

    functions: Sequence[Callable[..., Any]] = ()
    """The function behind the command, and classes whose arguments are its settings too."""
    asked: ClassVar[tuple[ToolParser, Sequence[str]] | None] = None
    """The command's parser, and what it parses: jsonargparse has parsers within parsers, and each complains for itself."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Prints one line, about the first setting that is wrong if one is found, and exits with code 2."""
        if self.asked is not None and user_error(ex) is None:
            from lightning_embed.cli.tools import why_refused

            asked, words = self.asked
            ToolParser.asked = None
            names = dict.fromkeys(key.partition(".")[0] for key in asked.get_defaults().as_flat().__dict__)
            if why := why_refused(words, asked.functions, list(names)):
                fail(why)
        fail(one_line(message, ex, self))


def tool_parser(
    command: str, description: str, functions: Sequence[Callable[..., Any]], config: str = "settings as YAML"
) -> ToolParser:
    """The parser of a command that is one function, with `--config`.

    Args:
        command: Its name.
        description: What it does, for `--help`.
        functions: The function, and classes whose arguments are settings too.
        config: What `--config` is, for `--help`.
    """
    made = ToolParser(prog=f"{program()} {command}", description=description)
    made.functions = functions
    made.add_argument("--config", action="config", help=config)
    return made


def run_function(parser: ToolParser, function: Callable[..., Any], arguments: list[str], stopped: str) -> None:
    """Parses the command line and calls a function with it; a user's mistake becomes one line and exit code 2.

    Args:
        parser: Its arguments are those of the function, and `config`.
        function: What to call.
        arguments: What follows the command's name.
        stopped: What to say when Ctrl-C or SIGTERM ends it.
    """
    ToolParser.asked = parser, arguments
    try:
        with replacing_lists():
            parsed = parser.parse_args(arguments)
    finally:
        ToolParser.asked = None
    try:
        with raising_stopped():
            ready = parser.instantiate(parsed).as_dict()
            ready.pop("config", None)
            function(**ready)
    except (KeyboardInterrupt, Stopped) as stop:
        print(f"stopped; {stopped}", file=sys.stderr, flush=True)
        raise SystemExit(stop.code if isinstance(stop, Stopped) else 130) from None
    except Exception as error:
        message = error_line(error)
        if message is None:
            raise
        fail(message, error)


def error_line(error: Exception) -> str | None:
    """A user's mistake, or what the machine refused, in one line; None for an error of our own.

    Args:
        error: What a command raised.
    """
    mistake = user_error(error)  # jsonargparse wraps what a constructor raises
    if mistake is not None:
        return str(mistake)
    how = death_of_a_worker(error)
    if how is not None:
        return f"a data loader's worker process {how}, which happens where main memory runs out; lower data.num_workers or the batch size"
    if os.environ.get("LIGHTNING_EMBED_TRACEBACK"):
        return None
    if isinstance(error, OSError) and error.errno is not None:
        return f"{error.strerror}: {error.filename or 'while writing'}"
    refusal = lightning_refusal(error)
    return None if refusal is None else f"trainer: {in_one_line(refusal, 500)}"


def death_of_a_worker(error: BaseException) -> str | None:
    """How a worker process of a data loader ended by itself, for a sentence; None for any other error.

    Args:
        error: What a command raised.
    """
    if isinstance(error, RuntimeError) and (died := WORKER.search(str(error))):
        return f"was killed ({died[1]})" if died[1] else "died"
    if isinstance(error, LOST_BATCH):
        frames = traceback.extract_tb(error.__traceback__)
        if any(frame.name == "_try_get_data" and Path(frame.filename).name == "dataloader.py" for frame in frames):
            return "died"
    return None


def lightning_refusal(error: BaseException | None) -> BaseException | None:
    """The error by which Lightning refuses a setting: one that it raises itself; None where code fails within it.

    Args:
        error: What a command raised; what it stems from counts too.
    """
    library = sys.modules.get("lightning")
    home = Path(str(library.__file__)).parent if library is not None else None
    while error is not None:
        frames = traceback.extract_tb(error.__traceback__)
        raised = bool(frames) and (frames[-1].line or "").startswith("raise ")
        if type(error).__name__ == "MisconfigurationException" or (
            raised and home in Path(frames[-1].filename).parents
        ):
            return error
        error = error.__cause__ or error.__context__
    return None


def one_line(message: str, error: Exception | None = None, parser: ArgumentParser | None = None) -> str:
    """A parser's complaint in one line; an unknown setting is answered with the known ones and the nearest.

    Args:
        message: What the parser says.
        error: The exception behind it, if there is one; a `UserError` in its chain speaks for itself.
        parser: The parser that does not know a setting.
    """
    mistake = user_error(error)
    if mistake is not None:
        return str(mistake)
    text = " ".join(message.split())
    setting = re.fullmatch(r"Option '([\w.]+)' is not accepted|unrecognized arguments: (--[\w.-]+).*", text)
    if setting and parser is not None:
        name, known = setting[1] or setting[2], [str(key) for key in parser.get_defaults().as_flat().__dict__]
        near = get_close_matches(name.lstrip("-"), known, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        return f"{name}: there is no such setting; {hint}known are {', '.join(known)}"
    return (_misfit(text) or text)[:600]


def _in_words(kind: re.Match[str]) -> str:
    return WORDS.get(kind[1], f"a {kind[1].rpartition('.')[2]}")


def _misfit(text: str) -> str | None:
    """What value fits none of the types that a setting may have; None if the complaint is another one."""
    for pattern, line in FORMS:
        if found := re.fullmatch(pattern, text):
            return re.sub(r"(?:an? )?<class '([\w.]+)'>", _in_words, line.format(*found.groups()))
    types = re.search(r"Union subtypes Subtypes: \[(.*?)\] Errors:", text)
    key, value = re.search(r'Parser key "([\w.]+)"', text), re.search(r".*Given value: (.*)$", text)
    if types is None or key is None or value is None:
        return None
    kinds = re.sub(
        r"<class '([\w.]+)'>|NoneType", lambda match: "null" if match[1] in (None, "NoneType") else match[1], types[1]
    )
    kinds = re.sub(r"[\w.]+\.(\w+)", r"\1", kinds)
    kinds = re.sub(r"Literal\[([^\]]*)\]", lambda match: match[1].replace("'", ""), kinds)
    return f"{key[1]}: expected one of {kinds}, got {value[1]}"
