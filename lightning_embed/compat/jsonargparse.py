"""What jsonargparse keeps to itself: how a value meets the one before it, and how it reads YAML."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from jsonargparse import ArgumentParser, _loaders_dumpers, _optionals, _typehints


@contextmanager
def replacing_lists() -> Iterator[None]:
    """Within it a list replaces an earlier one, from a file or the command line.

    Without it the items of two lists of the same length are merged by position: `--data.train '[{path: b.jsonl}]'` would get the filter,
    the weight and the length of the configuration's only source.
    """
    adapt = _typehints.adapt_typehints

    def replace(val: Any, typehint: Any, *args: Any, **settings: Any) -> Any:
        if isinstance(val, list) and isinstance(settings.get("prev_val"), list) and not settings.get("append"):
            settings["prev_val"] = []
        return adapt(val, typehint, *args, **settings)

    _typehints.adapt_typehints = replace
    try:
        yield
    finally:
        _typehints.adapt_typehints = adapt


@contextmanager
def reading_attributes() -> Iterator[None]:
    """Within it the texts below a class's fields are its settings' descriptions; it is slower, and so only for help."""
    options = _optionals._docstring_parse_options
    before = options["attribute_docstrings"]
    options["attribute_docstrings"] = True
    try:
        yield
    finally:
        options["attribute_docstrings"] = before


def accept_word(parser: ArgumentParser, setting: str, word: str) -> None:
    """Lets a setting that comes from another library's signature take one word more.

    Args:
        parser: The parser that has it.
        setting: Its key, such as `trainer.precision`.
        word: The word.
    """
    for action in parser._actions:
        if action.dest == setting and isinstance(action, _typehints.ActionTypeHint):
            action._typehint = Literal[word] | action._typehint


def load_yaml(text: str) -> Any:
    """YAML as jsonargparse reads it; without it 1e-5 would be a text, as YAML 1.1 has it.

    Args:
        text: A file's content, or a value on the command line.
    """
    return _loaders_dumpers.yaml_load(text)
