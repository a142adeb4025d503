"""What people give as sources: a path, a source's settings, a `Source`, or a list of these."""

from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from difflib import get_close_matches
from itertools import count
from pathlib import Path
from typing import Any

from lightning_embed.datamodules.sources.source import Source
from lightning_embed.errors import UserError

Sources = list[Source | dict[str, Any] | str | Path] | Source | dict[str, Any] | str | Path | None
"""Sources of a split; a path, or a source's settings, is one source."""
SETTINGS = tuple(field.name for field in fields(Source))


def as_sources(given: Sources, split: str) -> list[Source]:
    """The sources of a split, each with a title of its own: of equal ones, the second is called "pairs (2)".

    Args:
        given: A path, a `Source`, its settings as a dict, or a list of these: one source each.
        split: What the setting is called, for messages.

    Raises:
        UserError: If something is none of these, or a setting is unknown.
    """
    if given is None:
        return []
    items = list(given) if isinstance(given, list | tuple) else [given]
    made = [_source(item, split if len(items) == 1 else f"{split}, source {n}") for n, item in enumerate(items, 1)]
    taken: set[str] = set()
    for number, source in enumerate(made):
        name = next(name for name in _names(source.title) if name not in taken)
        taken.add(name)
        if name != source.title:
            made[number] = replace(source, name=name)
    return made


def _names(title: str) -> Iterator[str]:
    yield title
    yield from (f"{title} ({number})" for number in count(2))


def _source(item: Any, where: str) -> Source:
    if isinstance(item, Source):
        return item
    if isinstance(item, str | Path):
        return Source(item)
    if isinstance(item, Mapping):
        unknown = [str(key) for key in item if key not in SETTINGS]
        if unknown:
            near = get_close_matches(unknown[0], SETTINGS, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise UserError(f"{where}: a source has no setting '{unknown[0]}'; {hint}it has {', '.join(SETTINGS)}")
        return Source(**item)
    raise UserError(
        f"{where}: expected a path, or a source's settings such as {{path: pairs.jsonl}}, or a list of these, got {item!r:.80}"
    )
