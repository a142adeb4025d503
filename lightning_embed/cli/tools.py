"""Why the command line of a command that is one function is refused: its settings are walked along their types, as those of `fit` are."""

import collections.abc
from collections.abc import Callable, Sequence
from dataclasses import is_dataclass
from types import SimpleNamespace
from typing import Any, get_args, get_type_hints

from lightning_embed.cli.constructors import arguments
from lightning_embed.cli.diagnosis import diagnose
from lightning_embed.cli.words import CONFIG, Piece, pieces


def why_refused(words: Sequence[str], functions: Sequence[Callable[..., Any]], names: Sequence[str]) -> str | None:
    """What is wrong in a file of settings, or in an option with settings of its own; None where nothing is found.

    Args:
        words: What follows the command's name.
        functions: The function behind the command, and classes whose arguments are its settings too.
        names: The settings that there are.
    """
    found: dict[str, Any] = {}
    for one in functions:
        found |= arguments(one).types if isinstance(one, type) else _types(one)
    sections = {name: found.get(name, Any) for name in names}
    nested = [name for name, hint in sections.items() if any(map(is_dataclass, (hint, *get_args(hint))))]
    return diagnose([one for one in pieces(words) if _is_file(one) or set(one.content) & set(nested)], sections, {}, ())


def _types(function: Any) -> dict[str, Any]:
    """The types of a function's arguments; those of what it returns, and of lists, may be imported for type checkers alone."""
    given = {name: hint for name, hint in function.__annotations__.items() if name != "return"}
    return get_type_hints(SimpleNamespace(__annotations__=given), function.__globals__, vars(collections.abc))


def _is_file(piece: Piece) -> bool:
    return bool(piece.words) and piece.words[0].partition("=")[0] in CONFIG
