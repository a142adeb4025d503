"""Objects made again from a checkpoint's settings, or from the run's config.yaml where the checkpoint has none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from importlib import import_module
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from lightning_embed.errors import UserError, first_line, in_one_line, user_error
from lightning_embed.utils.described import Described, parameters, put_back


def rebuild(settings: Any, instead: Mapping[str, Any] | None = None) -> Any:
    """The object that settings describe; lists and dicts are searched for them.

    Whatever a checkpoint names, only classes of this package, their subclasses, and torch's optimizers and schedules are constructed.

    Args:
        settings: Plain data.
        instead: Arguments for the constructor alone, as far as it takes them: the object then gets its own ones back.

    Raises:
        UserError: A class cannot be imported, is of another kind, or does not take its arguments.
    """
    if isinstance(settings, list):
        return [rebuild(one) for one in settings]
    if not isinstance(settings, dict):
        return settings
    if "class_path" not in settings:
        return {key: rebuild(one) for key, one in settings.items()}
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
    """A class of a kind that checkpoints may name.

    Args:
        path: Its dotted path.

    Raises:
        UserError: It cannot be imported, or is of another kind.
    """
    home, _, name = path.rpartition(".")
    try:
        found = getattr(import_module(home), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(
            f"class {path} cannot be imported ({first_line(error)}); define it in a module on sys.path"
        ) from None
    if not (isinstance(found, type) and issubclass(found, Described | Optimizer | LRScheduler)):
        raise UserError(f"class {path}: expected one of lightning_embed, a subclass of one, an optimizer or a schedule")
    return found


def require_known_classes(settings: Any) -> None:
    """Raises `UserError` if settings name a class that `rebuild` would not construct.

    Args:
        settings: Plain data.
    """
    if isinstance(settings, dict) and "class_path" in settings:
        import_class(settings["class_path"])
    inner = settings.values() if isinstance(settings, dict) else settings if isinstance(settings, list) else ()
    for one in inner:
        require_known_classes(one)


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
