"""A command line as plain data: what each --config and each option sets, with short forms written out."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml

from lightning_embed.compat.jsonargparse import load_yaml
from lightning_embed.utils.configs import arguments_of

CONFIG = ("-c", "--config")
CLASS = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
"""The dotted path of a class."""
CONFIGS = (".yaml", ".yml", ".json")
"""Endings of files that hold the settings of a part."""
SPEC = ("class_path", "init_args")
ENCODERS = ("TextEncoder", "StaticEncoder", "FrozenEncoder", "StoredTeacher")


@dataclass(frozen=True)
class Piece:
    """What one --config or one option sets."""

    where: str
    """A file's name, or an option as it was typed."""
    content: Any = field(default_factory=dict)
    """As in a file: nested mappings. What is no mapping is no configuration."""
    words: tuple[str, ...] = ()
    """What was typed, with short forms written out."""
    flaw: str = ""
    """Why a file is no YAML."""


def pieces(words: Sequence[str]) -> Iterator[Piece]:
    """What each word of a command line, with its value, sets.

    Args:
        words: What follows the command.
    """
    left = list(words)
    while left:
        word = left.pop(0)
        key, equals, value = word.partition("=")
        if not key.startswith("-") or (not equals and (not left or left[0].startswith("--"))):
            yield Piece(word, words=(word,))
            continue
        typed = (word,) if equals else (word, value := left.pop(0))
        yield _config(value, typed) if key in CONFIG else _option(key, value, typed)


def _config(value: str, typed: tuple[str, ...]) -> Piece:
    """A file, or YAML itself; one that cannot be opened is for jsonargparse to refuse."""
    try:
        file = Path(value)
        text, where = (file.read_text(encoding="utf-8"), value) if file.is_file() else (value, "--config")
        content = load_yaml(text)
        if isinstance(content, str) and not file.is_file():
            return Piece(value, words=typed, flaw=": there is no such file")
        return Piece(where, written_out(content), typed)
    except (OSError, ValueError):
        return Piece(value, words=typed)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        return Piece(where, words=typed, flaw=f"{place}: it is not YAML: {getattr(error, 'problem', None) or error}")


def _option(key: str, value: str, typed: tuple[str, ...]) -> Piece:
    try:
        loaded = load_yaml(value)
    except yaml.YAMLError:
        loaded = value
    path = key.lstrip("-").removesuffix("+").split(".")
    full = written_out(_nested(path, loaded))
    if loaded is None and path[0] in ("model", "data") and path[1:]:
        # jsonargparse takes null in a mapping, and for a setting of a class that a class holds as the text "null"
        return Piece(key, full, (f"--{path[0]}", _flow(full[path[0]])))
    changed: Any = full
    for depth, name in enumerate(path):
        if name not in changed:  # a loss's class, which is a level deeper when it is written out
            key, loaded = "--" + ".".join(path[:depth]), None
            break
        changed = changed[name]
    if changed != loaded:
        typed = (key, _flow(changed))
    return Piece(key, full, typed)


def _flow(content: Any) -> str:
    """YAML in one line."""
    return yaml.safe_dump(content, default_flow_style=True, width=10**6, allow_unicode=True).strip()


def _nested(path: Sequence[str], value: Any) -> Any:
    for name in reversed(path):
        value = {name: value}
    return value


def written_out(content: Any) -> Any:
    """A configuration whose short forms are written out: an encoder as a path, a loss as its class alone, projections by name.

    Args:
        content: What a file, or an option, sets.
    """
    if not isinstance(content, dict) or not isinstance(content.get("model"), dict):
        return content
    given = arguments_of(content["model"])
    changed: dict[str, Any] = {}
    for name in ("student", "teacher"):
        if isinstance(path := given.get(name), str) and not _is_class(path) and not path.endswith(CONFIGS):
            kind = "TextEncoder" if name == "student" else "FrozenEncoder"
            changed[name] = {"class_path": f"lightning_embed.{kind}", "init_args": {"model": path}}
    if isinstance(
        projection := given.get("projection"), Mapping
    ):  # jsonargparse takes {a: {}, b: {}} for one without settings
        changed["projection"] = {
            name: {"class_path": "lightning_embed.Projection"} if one == {} and name not in SPEC else one
            for name, one in projection.items()
        }
    if isinstance(losses := given.get("losses"), Mapping):
        changed["losses"] = {name: _term(term) for name, term in losses.items()}
    full = {**given, **changed}
    model = content["model"] | {"init_args": full} if arguments_of(content["model"]) is not content["model"] else full
    return content | {"model": model}


def _term(term: Any) -> Any:
    """A loss with its weight; the class alone, or with its settings, has weight 1."""
    if isinstance(term, str):
        return {"loss": term}
    if isinstance(term, Mapping) and str(term.get("class_path", "LossTerm")).rpartition(".")[2] != "LossTerm":
        loss = {name: value for name, value in term.items() if name in ("class_path", "init_args")}
        return {"loss": loss, **{name: value for name, value in term.items() if name not in loss}}
    return term


def _is_class(text: str) -> bool:
    """Whether a text names an encoder's class, and not a model."""
    if text in ENCODERS:
        return True
    if not CLASS.fullmatch(text) or Path(text).exists():
        return False
    module, _, name = text.rpartition(".")
    try:
        return isinstance(getattr(import_module(module), name, None), type)
    except ImportError:
        return False


def written_out_text(text: str) -> str:
    """The text of a configuration with its short forms written out; the same text where there are none.

    Args:
        text: YAML.
    """
    try:
        content = load_yaml(text)
    except yaml.YAMLError:
        return text
    full = written_out(content)
    return text if full == content else yaml.safe_dump(full, sort_keys=False, allow_unicode=True)


def names_data(given: Sequence[Piece]) -> bool:
    """Whether the first configuration or option with settings of `data` says which class they are for, or there are none.

    Args:
        given: What a command line sets.
    """
    for piece in given:
        data = piece.content.get("data") if isinstance(piece.content, dict) else None
        if data is not None:
            return not isinstance(data, dict) or "class_path" in data
    return True
