"""Objects made again from a checkpoint's settings, or from the run's config.yaml where the checkpoint has none."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from lightning_embed.errors import UserError, first_line, in_one_line, user_error
from lightning_embed.utils.configs import read_config
from lightning_embed.utils.described import Described, parameters, put_back

PACKAGE = __name__.partition(".")[0]


def rebuild(settings: Any, instead: Mapping[str, Any] | None = None) -> Any:
    """The object that settings describe; lists and dicts are searched for them.

    Whatever a checkpoint names, only classes of this package, their subclasses, and torch's optimizers and schedules are constructed.

    Args:
        settings: Plain data.
        instead: Arguments for the constructor alone, as far as it takes them: the object then gets its own ones back. Of several objects
            by name: for each.

    Raises:
        UserError: A class cannot be imported, is of another kind, or does not take its arguments.
    """
    if isinstance(settings, list):
        return [rebuild(one) for one in settings]
    if not isinstance(settings, dict):
        return settings
    if "class_path" not in settings:
        return {key: rebuild(one, instead) for key, one in settings.items()}
    kind = import_class(settings["class_path"])
    given = {name: rebuild(value) for name, value in settings["init_args"].items()}
    if not issubclass(kind, Described):
        return partial(kind, **given)
    known = parameters(kind)
    other = {name: value for name, value in (instead or {}).items() if name in known}
    try:
        made = kind(**(given | other))
    except TypeError as error:
        raise UserError(
            f"{settings['class_path']} does not take the arguments it was saved with ({first_line(error)})"
        ) from error
    for name in other:
        put_back(made, name, given.get(name, known[name].default))
    return made


def import_class(path: str) -> type:
    """A class of a kind that checkpoints may name, from this package or a module that is imported already.

    A checkpoint is data, so no module is imported because a checkpoint names it: importing runs the module's code.

    Args:
        path: Its dotted path.

    Raises:
        UserError: Its module is not imported, or has no such class, or the class is of another kind.
    """
    home, _, name = path.rpartition(".")
    if home not in sys.modules and home.partition(".")[0] != PACKAGE:
        raise UserError(
            f"class {path}: a checkpoint names it, and a checkpoint imports no modules; import {home or 'its module'} first, or give "
            "the run's config.yaml, which names it too"
        )
    try:
        found = getattr(import_module(home), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"class {path} cannot be imported ({first_line(error)})") from None
    if not (isinstance(found, type) and issubclass(found, Described | Optimizer | LRScheduler)):
        raise UserError(f"class {path}: expected one of lightning_embed, a subclass of one, an optimizer or a schedule")
    return found


def import_modules_of_run(settings: Any, config: Path | None) -> None:
    """Imports the modules of a checkpoint's classes that the configuration of its run names too: configurations are trusted.

    Args:
        settings: The checkpoint's.
        config: The run's config.yaml; None: nothing is imported.
    """
    missing = {path.rpartition(".")[0] for path in class_paths(settings)} - set(sys.modules)
    if config is None or not missing:
        return
    for path in class_paths(read_config(config).get("model")):
        home = path.rpartition(".")[0]
        if any(f"{home}.".startswith(f"{one}.") for one in missing):  # a checkpoint has the shortest path of a class
            try:
                import_module(home)
            except ImportError as error:
                raise UserError(
                    f"{config}: class {path} cannot be imported ({first_line(error)}); modules are looked for in the current folder and "
                    "in PYTHONPATH"
                ) from None


def class_paths(settings: Any) -> Iterator[str]:
    """The `class_path` of everything that settings describe.

    Args:
        settings: Plain data.
    """
    if isinstance(settings, dict) and "class_path" in settings:
        yield str(settings["class_path"])
    for one in settings.values() if isinstance(settings, dict) else settings if isinstance(settings, list) else ():
        yield from class_paths(one)


def require_known_classes(settings: Any) -> None:
    """Raises `UserError` if settings name a class that `rebuild` would not construct.

    Args:
        settings: Plain data.
    """
    for path in class_paths(settings):
        import_class(path)


def without_weights(name: str, adapted: bool) -> dict[str, Any]:
    """Arguments with which an argument of the model reads no weights, since the checkpoint's take their place.

    Args:
        name: `student`, `projection` or another.
        adapted: Whether the checkpoint holds an adapter, whose base is read from its folder.
    """
    if name == "projection":
        return {"weights": None}
    return {"random_init": True} if name == "student" and not adapted else {}


def arguments_of_config(kind: type, arguments: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Arguments of a module, made from the configuration of its run.

    Args:
        kind: The module's class.
        arguments: `model.init_args`, as `fit` wrote them.
        names: Which of them.

    Raises:
        UserError: The class does not take them.
    """
    from jsonargparse import ArgumentError, ArgumentParser

    wanted = {name: arguments[name] for name in names}
    parser = ArgumentParser(exit_on_error=False)
    try:
        parser.add_class_arguments(kind, skip=set(parameters(kind)) - set(wanted), fail_untyped=False)
        made = parser.instantiate(parser.parse_object(wanted))
    except ArgumentError as error:
        raise UserError(f"the model cannot be rebuilt: {user_error(error) or in_one_line(error, 600)}") from None
    return dict(made.items(branches=True, nested=False))
