"""What a setting may be, by its type, and how that is written in YAML."""

import collections.abc
import inspect
import types
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Union, get_args, get_origin

import yaml
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from lightning_embed.cli.names import VALUES, here
from lightning_embed.datamodules.sources import Source
from lightning_embed.losses import LossTerm

PLAIN = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", type(None): "null"}
FORMS: dict[type, str] = {
    Optimizer: "{class_path: AdamW, init_args: {lr: 0.001}}",
    LRScheduler: "{class_path: WarmupSchedule, init_args: {warmup_steps: 500, decay: cosine}}",
    Source: "a path or a source's settings, such as {path: pairs.jsonl}",
    LossTerm: "a loss, such as Distillation or {loss: Distillation, weight: 2.0}",
}
"""How what a setting makes is written."""
KINDS = ("name", "type", "class", "_target_", "cls")
"""Keys under which others name a class."""


def options_of(hint: Any) -> list[Any]:
    """The types of a union; a type alone otherwise.

    Args:
        hint: The type of a setting.
    """
    if get_origin(hint) in (Union, types.UnionType):
        return [inner for one in get_args(hint) for inner in options_of(one)]
    return [hint]


def classes_of(options: Sequence[Any]) -> tuple[tuple[type, ...], bool]:
    """The classes whose instances are wanted, and whether the program makes them (a callable that returns one).

    Args:
        options: The types that a setting may have, as `options_of` gives them.
    """
    made = [get_args(one)[1] for one in options if get_origin(one) is collections.abc.Callable]
    found = [inner for one in made or options for inner in options_of(one)]
    classes = [one for one in found if inspect.isclass(one) and get_origin(one) is None and _is_made(one)]
    return tuple(classes), bool(made)


def _is_made(kind: type) -> bool:
    plain = kind in (*PLAIN, dict, list, tuple, set, object) or issubclass(kind, Tensor)
    return not plain and kind.__module__ not in ("datetime", "pathlib", "os", "enum")


def is_list(option: Any) -> bool:
    """Whether a type is written as a YAML list.

    Args:
        option: One of `options_of`.
    """
    origins = (list, tuple, set, collections.abc.Iterable, collections.abc.Sequence)
    return option in (list, tuple) or get_origin(option) in origins


def form_of(classes: tuple[type, ...], value: Any = None) -> str:
    """How an instance of one of some classes is written.

    Args:
        classes: Those that may be given.
        value: What was given, whose values are kept where it is a mapping.
    """
    base = next((one for one in FORMS if any(issubclass(kind, one) for kind in classes)), None)
    if base is None:
        return f"{{class_path: ..., init_args: {{...}}}} of {' or '.join(kind.__name__ for kind in classes)}"
    if isinstance(value, Mapping):
        named = next((value[key] for key in KINDS if isinstance(value.get(key), str)), None)
        default = "AdamW" if base is Optimizer else "WarmupSchedule"
        kept = {key: item for key, item in value.items() if key not in KINDS}
        return shortened({"class_path": named or default, "init_args": kept})
    return FORMS[base]


def expected(options: Sequence[Any], value: Any) -> str:
    """`expected ..., got ...`, with a near choice where there is one.

    Args:
        options: The types that the setting may have.
        value: What was given.
    """
    classes, _ = classes_of(options)
    if any(issubclass(kind, base) for kind in classes for base in FORMS):
        return f"expected {form_of(classes)}, got {shortened(value)}"
    words: list[str] = []
    choices: list[str] = []
    for one in options:
        if one in PLAIN:
            words.append(PLAIN[one])
        elif get_origin(one) is Literal:
            choices += map(str, get_args(one))
        elif get_origin(one) in (dict, collections.abc.Mapping) or one is dict:
            inner = get_args(one)
            form = FORMS.get(inner[1]) if inner and isinstance(inner[1], type) else None
            words.append(f"a mapping of names to {form}" if form else "a mapping")
        elif is_list(one):
            words.append("a list")
    if choices:
        words.insert(0, f"one of {', '.join(dict.fromkeys(choices))}")
    if classes:
        words.insert(0, form_of(classes))
    near = here(value, choices, VALUES) if isinstance(value, str) else None
    return f"expected {' or '.join(dict.fromkeys(words))}, got {shortened(value)}" + (
        f"; did you mean {near}?" if near else ""
    )


def shortened(value: Any) -> str:
    """A value as YAML in one line of at most about 160 characters.

    Args:
        value: Plain data.
    """
    if isinstance(value, str):
        return f"'{value}'" if len(value) < 80 else f"'{value[:80]}...'"
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10**6).strip().removesuffix("\n...")
    return text if len(text) <= 160 else f"{text[:160]}..."
