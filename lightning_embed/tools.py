"""What commands share: how a user's mistake is told, and, beside LightningCLI's, a parser and how a run of one ends."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from jsonargparse import ArgumentParser

from lightning_embed.errors import UserError
from lightning_embed.utils.notes import one_line, user_error


class ToolParser(ArgumentParser):
    """A parser that says what is wrong in one line."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Prints one line and exits with code 2."""
        fail(one_line(message, ex))


def fail(message: str) -> NoReturn:
    """Prints a user's mistake on standard error and exits with code 2.

    Args:
        message: One line.
    """
    print(f"error: {message}", file=sys.stderr, flush=True)
    raise SystemExit(2)


def run_tool(parser: ToolParser, function: Callable[..., Any], arguments: list[str], stopped: str) -> None:
    """Parses the command line and calls a function with it; a user's mistake becomes one line and exit code 2.

    Args:
        parser: Its arguments are those of the function, and `config`.
        function: What to call.
        arguments: What follows the command's name.
        stopped: What to say when Ctrl-C ends it.
    """
    parsed = parser.parse_args(arguments)
    try:
        ready = parser.instantiate(parsed).as_dict()
        ready.pop("config", None)
        function(**ready)
    except KeyboardInterrupt:
        print(f"stopped; {stopped}", file=sys.stderr, flush=True)
        raise SystemExit(130) from None
    except UserError as error:
        fail(str(error))
    except Exception as error:
        mistake = user_error(error)
        if mistake is not None:
            fail(str(mistake))
        if isinstance(error, OSError) and error.errno is not None and not os.environ.get("LIGHTNING_EMBED_TRACEBACK"):
            fail(f"{error.strerror}: {error.filename or 'while writing'}")
        raise
