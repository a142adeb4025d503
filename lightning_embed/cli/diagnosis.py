"""Why a configuration is refused: walks what was given along the types of the constructors, and names the first value that does not fit.

jsonargparse decides what is accepted. This is asked when it has refused, for a line that a user can act on: its own messages name the
innermost key without the ones around it, and types rather than what to write.
"""

import collections.abc
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from lightning_embed.cli.constructors import Arguments, arguments, class_named
from lightning_embed.cli.expected import FORMS, classes_of, expected, form_of, is_list, options_of, shortened
from lightning_embed.cli.names import SETTINGS, here, nearest
from lightning_embed.cli.words import Piece
from lightning_embed.utils.configs import arguments_of

SPEC = ("class_path", "init_args", "dict_kwargs")
GROUPS = ("source", "trainer", "checkpoint", "last_checkpoint", "average", "report", "output")
"""Sections of one class, which is not named."""
Found = Iterator[tuple[str, str]]
"""Where, and what is wrong."""


def diagnose(
    pieces: Sequence[Piece], sections: Mapping[str, Any], places: Mapping[str, type], required: Sequence[str]
) -> str | None:
    """The first mistake in what was given, in one line; None where nothing is found.

    Args:
        pieces: What each --config and each option sets, in order.
        sections: Top-level key -> its type.
        places: Where settings may belong that are given in a wrong place: a path -> the class whose arguments are there.
        required: Sections that must be given.
    """
    before: dict[str, Any] = {}
    for piece in pieces:
        if piece.flaw:
            return f"{piece.where}{piece.flaw}"
        if piece.words == (piece.where,) and not piece.where.startswith("-"):
            return f"'{piece.where}': expected an option, such as --trainer.max_steps 100"
        if piece.words == (piece.where,) and "." in piece.where:  # no flag has one
            return f"{piece.where}: expected a value after it, got none"
        if not isinstance(piece.content, Mapping):
            found = "nothing" if piece.content is None else f"a {type(piece.content).__name__}"
            return f"{piece.where}: expected a configuration (model, data, trainer), got {found}"
        who = "--" if piece.where.startswith("--") else f"{piece.where}: "
        for name, value in piece.content.items():
            if isinstance(value, str) and name in GROUPS and name in sections:
                first = next(iter(arguments(sections[name]).types))
                return f"{who}{name}: expected its settings by name, such as --{name}.{first}, got '{value}'"
        for path, what in _names(piece.content, Arguments(dict(sections), (), False), "", before, places):
            return f"{who}{path}: {what}"
        before = merged(before, piece.content)
    for name in required:
        if name not in before:
            return f"{name} is missing: a configuration has model, data and trainer; `fit --print_config` shows one"
    for name, value in before.items():
        for path, what in _missing(value, sections.get(name, Any), name):
            return f"{path}: {what}"
    return None


def merged(before: Any, content: Any) -> Any:
    """What is set after a later configuration, as jsonargparse has it.

    Args:
        before: What was set.
        content: What comes on top.
    """
    if not isinstance(before, Mapping) or not isinstance(content, Mapping):
        return content
    if any(key in one for one in (before, content) for key in SPEC):
        kind = content.get("class_path", before.get("class_path"))
        inner = arguments_of(before) if kind == before.get("class_path", kind) else {}
        return {"class_path": kind, "init_args": merged(inner, arguments_of(content))}
    return {**before, **{key: merged(before.get(key), value) for key, value in content.items()}}


def _names(given: Mapping[str, Any], known: Arguments, path: str, before: Any, places: Mapping[str, type]) -> Found:
    """Checks arguments by name, then their values."""
    before = before if isinstance(before, Mapping) else {}
    for name, value in given.items():
        where = f"{path}.{name}" if path else str(name)
        if name in known.types:
            yield from _value(value, known.types[name], where, before.get(name), places)
        elif not known.open and name != "__path__":
            yield where, _unknown(str(name), known.types, places)


def _unknown(name: str, known: Mapping[str, Any], places: Mapping[str, type]) -> str:
    near = here(name, known)
    if near is None or name not in SETTINGS.get(near, ()):
        for place, kind in places.items():
            types_there = arguments(kind).types
            other = next((one for one in types_there if name == one or name in SETTINGS.get(one, ())), None)
            if other is not None and set(types_there) != set(known):
                return f"there is no such setting here; it is {place}.{other}"
    hint = f"did you mean {near}? " if near else ""
    return f"there is no such setting; {hint}known are {', '.join(known)}"


def _value(value: Any, hint: Any, path: str, before: Any, places: Mapping[str, type]) -> Found:
    options = options_of(hint)
    if any(one in (Any, object) or isinstance(one, str) for one in options):
        return
    classes, callables = classes_of(options)
    if isinstance(value, Mapping):
        inner = [get_args(one) for one in options if get_origin(one) in (dict, collections.abc.Mapping)]
        if classes and not (inner and _is_by_name(value, classes)):
            yield from _instance(value, classes, callables, path, before, places)
        elif inner:
            for key, item in value.items():
                earlier = before.get(key) if isinstance(before, Mapping) else None
                if classes and isinstance(item, str) and isinstance(class_named(item, classes), str):
                    yield (
                        f"{path}.{key}",
                        f"expected its settings, such as {{{next(iter(arguments(classes[0]).types))}: {item}}}, got '{item}'",
                    )
                yield from _value(item, inner[0][1] if inner[0] else Any, f"{path}.{key}", earlier, places)
        elif not any(one is dict for one in options):
            yield path, expected(options, value)
    elif isinstance(value, list | tuple):
        inner = [get_args(one) for one in options if is_list(one)]
        if not inner:
            yield path, expected(options, value)
        for number, item in enumerate(value if inner and inner[0] else (), 1):
            yield from _value(item, inner[0][0], f"{path}, item {number}", None, places)
    else:
        yield from _plain(value, options, classes, path)


def _is_by_name(value: Mapping[str, Any], classes: tuple[type, ...]) -> bool:
    """Whether a mapping is one of names, such as those of several teachers, where it may be the settings of a class too."""
    known = {*SPEC}.union(*(arguments(kind).types for kind in classes))
    return known.isdisjoint(value) and any(isinstance(one, Mapping) for one in value.values())


def _plain(value: Any, options: Sequence[Any], classes: tuple[type, ...], path: str) -> Found:
    texts = () if isinstance(value, str) or not classes else (str, Path)  # a number is no path
    if any(_fits(value, one) for one in options if one not in texts):
        return
    if isinstance(value, str) and classes and not any(one in FORMS for one in classes):
        named = class_named(value, classes)
        if isinstance(named, str):
            yield path, named
        return
    if isinstance(value, str) and classes and not isinstance(class_named(value, classes), str):
        return
    yield path, expected(options, value)


def _fits(value: Any, option: Any) -> bool:
    """Whether a plain value may be of a type; a type that is not known here takes anything."""
    text = str(value)
    if get_origin(option) is Literal:
        return text in map(str, get_args(option))
    if option is type(None):
        return value is None
    if option is bool:
        return isinstance(value, bool) or text.lower() in ("true", "false", "yes", "no")
    if option in (int, float):
        if isinstance(value, bool):
            return False
        try:
            return option(text) is not None
        except ValueError:
            return False
    if option in (str, Path):
        return isinstance(value, str | int | float) and not isinstance(value, bool)
    known = get_origin(option) is not None or not isinstance(option, type)
    return not known and option.__module__ in ("datetime", "pathlib", "os")


def _instance(
    value: Mapping[str, Any],
    classes: tuple[type, ...],
    callables: bool,
    path: str,
    before: Any,
    places: Mapping[str, type],
) -> Found:
    earlier = before.get("class_path") if isinstance(before, Mapping) else before
    if not isinstance(earlier, str) or isinstance(class_named(earlier, classes), str):
        earlier = None
    written = any(key in value for key in SPEC)
    name = value.get("class_path", earlier)
    if name is None and callables:
        yield path, f"expected {form_of(classes, value)}, got {shortened(value)}"
        return
    kind: type | str = classes[0] if name is None else class_named(name, classes)
    if isinstance(kind, str):
        form = f"; e.g. {form_of(classes)}" if any(one in FORMS for one in classes) else ""
        yield f"{path}.class_path", (kind.partition("; known are ")[0] if form else kind) + form
        return
    known = arguments(kind, int(callables))
    for key in value if written else ():
        if key not in (*SPEC, "__path__"):
            near = nearest(str(key), SPEC)
            what = "it belongs under init_args, beside class_path" if key in known.types else f"did you mean {near}?"
            fallback = f"beside class_path there is only init_args, for what {kind.__name__} takes"
            yield f"{path}.{key}", what if near or key in known.types else fallback
    given = value.get("init_args") if written else value
    if isinstance(given, Mapping):
        yield from _names(given, known, f"{path}.init_args" if written else path, arguments_of(before), places)


def _missing(value: Any, hint: Any, path: str) -> Found:
    """Arguments that a class needs and nothing gives."""
    classes, callables = classes_of(options_of(hint))
    inner = [get_args(one) for one in options_of(hint) if get_origin(one) is dict]
    if isinstance(value, list):
        items = [get_args(one) for one in options_of(hint) if is_list(one)]
        for number, item in enumerate(value if items and items[0] else (), 1):
            yield from _missing(item, items[0][0], f"{path}, item {number}")
    elif isinstance(value, Mapping) and classes and not (inner and _is_by_name(value, classes)):
        kind = class_named(value["class_path"], classes) if value.get("class_path") else classes[0]
        if isinstance(kind, str):
            return
        known, given = arguments(kind, int(callables)), arguments_of(value)
        for name in known.required:
            if name not in given:
                yield path, f"{kind.__name__} needs {name}, which is not given"
        for name, item in given.items():
            yield from _missing(item, known.types.get(name, Any), f"{path}.{name}")
    elif isinstance(value, Mapping) and inner and inner[0]:
        for key, item in value.items():
            yield from _missing(item, inner[0][1], f"{path}.{key}")
