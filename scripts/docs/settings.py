"""Reference page of the YAML: the keys of everything that a configuration holds, from signatures and docstrings."""

import dataclasses
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints

from docstring_parser import DocstringStyle, parse, parse_from_object

import lightning_embed as le
from lightning_embed.losses import EmbeddingLoss
from scripts.docs.pages import write

Key = tuple[str, str, str, str]
"""(name, type, default, what it means)."""

SECTIONS: dict[str, tuple[str, list[Any]]] = {
    "model": ("`model: {class_path: EmbeddingModule, init_args: {...}}`.", [le.EmbeddingModule]),
    "Encoders": (
        "`student` and `teacher` of the model.",
        [le.TextEncoder, le.StaticEncoder, le.Adapter, le.FrozenEncoder, le.StoredTeacher],
    ),
    "Projection and schedule": ("`projection` and `lr_scheduler` of the model.", [le.Projection, le.WarmupSchedule]),
    "losses": (
        "`losses: {NAME: {loss: CLASS, weight: 1.0}}` of the model; how to choose: [Losses](../losses.md).",
        [le.LossTerm],
    ),
    "data": (
        "`data: {class_path: EmbeddingDataModule, init_args: {...}}`; each entry of `train`, `validation`, `test`, `predict` is a Source.",
        [le.EmbeddingDataModule, le.Source, le.PythonDocs],
    ),
    "Callbacks": (
        "`report`, `average`, `last_checkpoint` and `output` at the top level, the others under `trainer.callbacks`.",
        [
            le.Report,
            le.AverageCheckpoints,
            le.LastCheckpoint,
            le.PredictionWriter,
            le.LossSchedule,
            le.TaskGrid,
            le.Throughput,
        ],
    ),
    "Strategy": ("`trainer.strategy`; `fsdp2` is this class with its defaults.", [le.FSDP2]),
    "Recipe": ("A stage of the file that `recipe` reads.", [le.Stage]),
}


def losses() -> list[type]:
    """The public losses, in the order of their names."""
    public = [getattr(le, name) for name in sorted(le.__all__, key=str.lower)]
    return [
        one for one in public if inspect.isclass(one) and issubclass(one, EmbeddingLoss) and not inspect.isabstract(one)
    ]


def keys(kind: Any) -> Iterator[Key]:
    """The keys of a class: its constructor's arguments.

    Args:
        kind: The class.
    """
    about = {}
    for one in reversed(inspect.getmro(kind)):  # a class documents what it adds to its base
        params = parse(one.__doc__ or "", DocstringStyle.GOOGLE).params
        if dataclasses.is_dataclass(one):
            params += parse_from_object(one).params
        about |= {param.arg_name: param.description or "" for param in params}
    hints = get_type_hints(kind if dataclasses.is_dataclass(kind) else kind.__init__)
    for name, parameter in inspect.signature(kind).parameters.items():
        default = "" if parameter.default is parameter.empty else as_yaml(parameter.default)
        yield name, as_type(hints.get(name, Any)), default, " ".join(about.get(name, "").split())


def as_type(hint: Any) -> str:
    """A type, without the modules of its names.

    Args:
        hint: The annotation.
    """
    text = inspect.formatannotation(hint).replace("NoneType", "None")
    return re.sub(r"(?:\w+\.)+(\w+)", r"\1", text).replace("None", "null")


def as_yaml(value: Any) -> str:
    """A default as YAML writes it.

    Args:
        value: The default.
    """
    if isinstance(value, tuple):
        value = list(value)
    if dataclasses.is_dataclass(value):
        return type(value).__name__
    return {"None": "null", "True": "true", "False": "false"}.get(str(value), str(value) or "''")


def stage_settings(folder: Path) -> None:
    """Writes `reference/settings.md`.

    Args:
        folder: The site's pages.
    """
    page = [
        "# YAML keys",
        "A key is an argument of a constructor. A class is named by `class_path` with its keys under `init_args`; one with defaults"
        " alone may be given by its name. `python -m lightning_embed fit --print_config` prints a whole configuration.",
    ]
    for title, (about, classes) in SECTIONS.items():
        page += [f"## {title}", about]
        for kind in [*classes, *(losses() if title == "losses" else [])]:
            page.append(f"### {kind.__name__}")
            page.append((inspect.getdoc(kind) or "").partition("\n")[0])
            page += [entry(*key) for key in keys(kind)]
    write(folder / "reference" / "settings.md", "\n\n".join(page) + "\n")


def entry(name: str, kind: str, default: str, about: str) -> str:
    """A key as an item of a definition list.

    Args:
        name: The key.
        kind: Its type.
        default: What it is where it is not given; "" where it must be given.
        about: What it means.
    """
    last = f", *default* `{default}`." if default else ", required."
    return f"`{name}`\n:   {about} *Type* `{kind}`{last}"
