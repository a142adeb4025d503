"""What a configuration's classes take: their arguments with types, and the classes that a name may mean."""

import inspect
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any, get_type_hints

from lightning_embed.cli.names import LOSSES, here, nearest

NOUNS = {"EmbeddingLoss": "loss"}
"""What a class is called in a message."""


@dataclass(frozen=True)
class Arguments:
    """What a class takes to be made."""

    types: dict[str, Any]
    """Name -> type; `Any` where none is declared."""
    required: tuple[str, ...]
    open: bool
    """Whether it takes any other name too."""


@cache
def arguments(kind: type, skip: int = 0) -> Arguments:
    """The arguments of a class, and of its bases where it hands others on to them.

    Args:
        kind: The class.
        skip: Leading ones that the program gives.
    """
    found: dict[str, Any] = {}
    required: list[str] = []
    more = True
    one: Any
    for one in kind.__mro__:
        if not more or one is object or "__init__" not in vars(one):
            continue
        parameters = list(inspect.signature(one.__init__).parameters.values())[1:]
        try:
            hints = get_type_hints(one.__init__)
        except (NameError, TypeError):  # a type that is imported for type checkers alone
            hints = {}
        more = any(p.kind is p.VAR_KEYWORD for p in parameters)
        for parameter in parameters[skip:]:
            if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL) or parameter.name in found:
                continue
            found[parameter.name] = hints.get(parameter.name, Any)
            if parameter.default is parameter.empty:
                required.append(parameter.name)
    return Arguments(found, tuple(required), more)


def subclasses(base: type) -> dict[str, type]:
    """Short name -> class, of a class and all imported ones that derive from it.

    Args:
        base: The class.
    """
    found: dict[str, type] = {} if inspect.isabstract(base) or base.__name__.startswith("_") else {base.__name__: base}
    derived: type
    for derived in base.__subclasses__():
        found |= {name: kind for name, kind in subclasses(derived).items() if "._" not in kind.__module__}
    return found


def class_named(name: Any, bases: tuple[type, ...]) -> type | str:
    """The class that a `class_path` means, or what is wrong with it.

    Args:
        name: A short name or a dotted path.
        bases: What it must derive from, one of them.
    """
    known = {short: kind for base in bases for short, kind in subclasses(base).items() if "Dummy" not in short}
    wanted = " or ".join(NOUNS.get(base.__name__, base.__name__) for base in bases)
    short = str(name).rpartition(".")[2]
    if not isinstance(name, str) or not all(part.isidentifier() for part in name.split(".")):
        return f"expected a class ({', '.join(sorted(known)[:20])}, or the dotted path of one of yours), got {name!r}"
    if "." not in name:
        if name in known:
            return known[name]
        near = here(name, known, LOSSES) or nearest(name, known, 0.5)
        hint = _hint(name, near)
        return f"there is no {wanted} '{name}'; {hint}known are {', '.join(sorted(known)[:30])}, or the dotted path of one of yours"
    module, _, attribute = name.rpartition(".")
    try:
        found = getattr(import_module(module), attribute, None)
    except ImportError as error:
        return f"'{name}' cannot be imported ({error}); modules are looked for in the current folder and in PYTHONPATH"
    if isinstance(found, type) and issubclass(found, bases):
        return found
    if found is None:
        return f"'{name}' cannot be imported: {module} has no {attribute}"
    near = here(short, known, LOSSES)
    what = "another class" if isinstance(found, type) else "a function" if callable(found) else "no class"
    kinds = " or ".join(base.__name__ for base in bases)
    there = f"{_hint(short, near)}known are {', '.join(sorted(known)[:30])}"
    return f"'{name}' is {what}, expected a subclass of {kinds}; {there}"


def _hint(name: str, near: str | None) -> str:
    """The class to take in place of one."""
    if near is None:
        return ""
    others = [other.lower() for other in LOSSES.get(near, ())]
    return f"here: {near}; " if name.lower() in others else f"did you mean {near}? "
