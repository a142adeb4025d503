"""Objects that know what they were constructed with, as plain data: what a checkpoint needs to rebuild them.

The arguments are recorded by `__new__`, which receives those of a subclass' constructor too, without the subclass' help.
"""

import inspect
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from numbers import Integral, Real
from typing import Any, Self

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

_REST = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_BY_PLACE = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@dataclass
class Construction:
    """How an object was constructed."""

    settings: dict[str, Any]
    """`class_path` and `init_args`, as in a config.yaml: dicts, lists, strings, numbers and None."""
    missing: dict[str, str] = field(default_factory=dict)
    """Dotted name of each argument that is not data -> what it is; an empty name: the class cannot be imported."""


class Described:
    """Records the arguments of each object's constructor: those given, and the defaults of those left out."""

    def __new__(cls, *arguments: Any, **named: Any) -> Self:
        """Records the arguments; the constructor refuses wrong ones."""
        made = super().__new__(cls)
        object.__setattr__(made, "_construction", _construction(cls, arguments, named))
        return made


def construction(made: Described) -> Construction:
    """How an object was constructed, whatever has been done to it since.

    Args:
        made: The object.
    """
    found: Construction = made._construction  # type: ignore[attr-defined]
    return found


def put_back(made: Described, name: str, value: Any) -> None:
    """Gives an object that was constructed with a substitute for an argument the argument itself, as attribute and in its record.

    Args:
        made: The object.
        name: The argument, and the attribute that keeps it.
        value: Plain data.
    """
    setattr(made, name, value)
    construction(made).settings["init_args"][name] = value


def parameters(cls: type) -> dict[str, inspect.Parameter]:
    """The parameters of a class' constructor; where that takes *args or **kwargs, those of its parent follow.

    Args:
        cls: Any class.
    """
    found: dict[str, inspect.Parameter] = {}
    for base in cls.__mro__:
        if "__init__" not in base.__dict__:
            continue
        own = _own_parameters(base)
        found |= {p.name: p for p in own if p.kind not in _REST and p.name not in found}
        if not any(p.kind in _REST for p in own):
            break
    return found


def _own_parameters(cls: type) -> list[inspect.Parameter]:
    return list(inspect.signature(cls.__init__).parameters.values())[1:]  # type: ignore[misc]


def _construction(cls: type, arguments: Sequence[Any], named: Mapping[str, Any]) -> Construction:
    names = [p.name for p in parameters(cls).values() if p.kind in _BY_PLACE]
    given = dict(zip(names, arguments, strict=False)) | dict(named)
    missing = {f"argument {n + 1}": "given by position alone" for n in range(len(names), len(arguments))}
    path = class_path(cls)
    if path is None:
        missing[""] = f"of class {cls.__qualname__}, which cannot be imported"
    found = _defaults(cls) | {name: _plain(value, name, missing) for name, value in given.items()}
    order = [
        *(name for name in parameters(cls) if name in found),
        *(name for name in found if name not in parameters(cls)),
    ]
    settings = {name: found[name] for name in order if name not in missing}
    return Construction({"class_path": path or cls.__qualname__, "init_args": settings}, missing)


def _defaults(cls: type) -> dict[str, Any]:
    """The defaults of a class' own constructor that are data; its parent's may be arguments that it sets itself."""
    found: dict[str, Any] = {}
    for p in _own_parameters(cls):
        missing: dict[str, str] = {}
        value = _plain(p.default, p.name, missing)
        if p.default is not inspect.Parameter.empty and not missing:
            found[p.name] = value
    return found


def _plain(value: Any, name: str, missing: dict[str, str]) -> Any:
    """A value as data; what cannot be data is noted in `missing`, under its dotted name."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str | os.PathLike):
        return str.__str__(os.fspath(value))
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value)
    if isinstance(value, list | tuple):
        return [_plain(one, f"{name}.{place}", missing) for place, one in enumerate(value)]
    if isinstance(value, Mapping) and "class_path" not in value and all(isinstance(key, str | int) for key in value):
        return {key: _plain(one, f"{name}.{key}", missing) for key, one in value.items()}
    if isinstance(value, Described):
        made = construction(value)
        missing |= {f"{name}.{inner}" if inner else name: what for inner, what in made.missing.items()}
        return made.settings | {"init_args": dict(made.settings["init_args"])}
    factory, named = _optimizer_factory(value)
    path = class_path(factory) if factory is not None else None
    if path is not None:
        return {"class_path": path, "init_args": _plain(dict(named), name, missing)}
    missing[name] = "a function" if inspect.isroutine(value) else f"an object of class {type(value).__qualname__}"
    return None


def _optimizer_factory(value: Any) -> tuple[type | None, Mapping[str, Any]]:
    """The class and the arguments of a factory of optimizers or schedules: the class itself, or a partial of it."""
    named: Mapping[str, Any] = {}
    if isinstance(value, partial):
        # jsonargparse's is a partial of a function of its own, the last argument of which is the class
        value, named = value.args[-1] if value.args else value.func, value.keywords
    return (value if isinstance(value, type) and issubclass(value, Optimizer | LRScheduler) else None), named


def class_path(cls: type) -> str | None:
    """The shortest dotted path by which a class can be imported; None for one defined within a function.

    Args:
        cls: Any class.
    """
    parts = cls.__module__.split(".")
    for count in range(1, len(parts) + 1):
        module = ".".join(parts[:count])
        if getattr(sys.modules.get(module), cls.__qualname__, None) is cls:
            return f"{module}.{cls.__qualname__}"
    return None
