"""What commands share: a parser that reports a mistake in one line, and how a command that is one function runs and ends."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from difflib import get_close_matches
from typing import Any, NoReturn

from jsonargparse import ArgumentParser

from lightning_embed.compat.jsonargparse import replacing_lists
from lightning_embed.errors import user_error
from lightning_embed.utils.signals import Stopped, raising_stopped

WORKER = re.compile(r"DataLoader worker \(pid.*?\) (?:is killed by signal: ([\w ]+)|exited unexpectedly)")
"""What torch raises when a worker process of a data loader ends by itself."""


def fail(message: str) -> NoReturn:
    """Prints a user's mistake on standard error and exits with code 2.

    Args:
        message: One line.
    """
    print(f"error: {message}", file=sys.stderr, flush=True)
    raise SystemExit(2)


def exit_in_one_line(parser: ArgumentParser, message: str, ex: Exception | None = None) -> NoReturn:
    """The `error` method of a parser: prints one line and exits with code 2.

    Args:
        parser: The parser.
        message: What it complains of.
        ex: The exception behind it, if there is one.
    """
    fail(one_line(message, ex, parser))


class ToolParser(ArgumentParser):
    """A parser that reports a mistake in one line."""

    error = exit_in_one_line


def tool_parser(command: str, description: str, config: str = "settings as YAML") -> ToolParser:
    """The parser of a command that is one function, with `--config`.

    Args:
        command: Its name.
        description: What it does, for `--help`.
        config: What `--config` is, for `--help`.
    """
    made = ToolParser(prog=f"python -m lightning_embed {command}", description=description)
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
    with replacing_lists():
        parsed = parser.parse_args(arguments)
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
        fail(message)


def error_line(error: Exception) -> str | None:
    """A user's mistake, or what the machine refused, in one line; None for an error of our own.

    Args:
        error: What a command raised.
    """
    mistake = user_error(error)  # jsonargparse wraps what a constructor raises
    if mistake is not None:
        return str(mistake)
    if isinstance(error, RuntimeError) and (died := WORKER.search(str(error))):
        how = f"was killed ({died[1]})" if died[1] else "died"
        return f"a data loader's worker process {how}, which happens where main memory runs out; lower data.num_workers or the batch size"
    if isinstance(error, OSError) and error.errno is not None and not os.environ.get("LIGHTNING_EMBED_TRACEBACK"):
        return f"{error.strerror}: {error.filename or 'while writing'}"
    return None


def one_line(message: str, error: Exception | None = None, parser: ArgumentParser | None = None) -> str:
    """A parser's complaint in one line; an unknown loss or setting is answered with the known ones and the nearest.

    Args:
        message: What the parser says.
        error: The exception behind it, if there is one; a `UserError` in its chain speaks for itself.
        parser: The parser that does not know a setting.
    """
    mistake = user_error(error)
    if mistake is not None:
        return str(mistake)
    text = " ".join(message.split())
    unknown = re.search(r'key "loss".*?Expected a dot import path string: (\w+)$', text)
    name = unknown[1] if unknown else ""
    known = _losses()
    if name and name not in known:
        near = get_close_matches(name, known, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]}? " if near else ""
        return f"losses: there is no loss '{name}'; {hint}known are {', '.join(known)}, or the dotted path of a class of yours"
    setting = re.fullmatch(r"Option '(\w+)' is not accepted", text)
    if setting and parser is not None:
        known = list(parser.get_defaults().keys())
        near = get_close_matches(setting[1], known, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        return f"there is no setting '{setting[1]}' here; {hint}known are {', '.join(known)}"
    return (_misfit(text) or text)[:600]


def _misfit(text: str) -> str | None:
    """What value fits none of the types that a setting may have; None if the complaint is another one."""
    types = re.search(r"Union subtypes Subtypes: \[(.*?)\] Errors:", text)
    key, value = re.search(r'Parser key "([\w.]+)"', text), re.search(r".*Given value: (.*)$", text)
    if types is None or key is None or value is None:
        return None
    kinds = re.sub(r"<class '([\w.]+)'>|NoneType", lambda match: match[1] or "null", types[1])
    kinds = re.sub(r"[\w.]+\.(\w+)", r"\1", kinds)
    return f"{key[1]}: expected one of {kinds}, got {value[1]}"


def _losses() -> list[str]:
    import lightning_embed.losses as losses

    return sorted(
        name
        for name in losses.__all__
        if isinstance(getattr(losses, name), type) and hasattr(getattr(losses, name), "check")
    )
