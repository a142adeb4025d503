"""What people give as sources: a path, a source's settings, a `Source`, or a list of these."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from difflib import get_close_matches
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_embed.batch import ANCHOR
from lightning_embed.datamodules.sources.columns import by_name
from lightning_embed.datamodules.sources.in_memory import InMemory, is_in_memory
from lightning_embed.datamodules.sources.source import Source
from lightning_embed.errors import UserError

if TYPE_CHECKING:
    One = Source | Mapping[str, Any] | str | Path | InMemory
    Sources = One | Sequence[One] | None
else:  # what a configuration can hold
    Sources = list[Source | dict[str, Any] | str | Path] | Source | dict[str, Any] | str | Path | None
"""Sources of a split; a path, a source's settings, or rows, is one source."""
SETTINGS = tuple(field.name for field in fields(Source))


def as_sources(given: Sources, split: str) -> list[Source]:
    """The sources of a split, each with a title of its own: of equal ones, the second is called "pairs (2)".

    Args:
        given: A path, a `Source`, its settings as a dict, rows (a list of dicts, a data frame, a `datasets.Dataset`), or a list of
            these: one source each.
        split: What the setting is called, for messages.

    Raises:
        UserError: If something is none of these, or a setting is unknown.
    """
    if given is None:
        return []
    items = list(given) if isinstance(given, list | tuple) and not _are_rows(given) else [given]
    made = [_source(item, n, split if len(items) == 1 else f"{split}, source {n}") for n, item in enumerate(items, 1)]
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


def _are_rows(items: Sequence[Any]) -> bool:
    """Whether the items of a list are the rows of one source, and not sources; the first one shows it."""
    first = items[0] if items else None
    return isinstance(first, Mapping) and "path" not in first and ANCHOR in by_name([str(key) for key in first])


def unknown_setting(item: Mapping[Any, Any]) -> str | None:
    """What to say of the first setting that no source has; None where there is none.

    Args:
        item: A source's settings.
    """
    unknown = next((str(key) for key in item if key not in SETTINGS), None)
    if unknown is None:
        return None
    near = get_close_matches(unknown, SETTINGS, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    if not near and "path" not in item:
        hint = "if this is a row, give Source(rows, columns={'anchor': ..., 'positive': ...}), else `path`; "
    return f"a source has no setting '{unknown}'; {hint}it has {', '.join(SETTINGS)}"


def _source(item: Any, number: int, where: str) -> Source:
    if isinstance(item, Source):
        return item
    if is_in_memory(item):
        return Source(item, name=f"rows {number}")
    if isinstance(item, str | Path):
        return Source(item)
    if isinstance(item, Mapping):
        if unknown := unknown_setting(item):
            raise UserError(f"{where}: {unknown}")
        if "path" not in item:
            raise UserError(f"{where}: a source needs a `path`, got {dict(item)!r:.80}")
        return Source(**item)
    raise UserError(
        f"{where}: expected a path, or a source's settings such as {{path: pairs.jsonl}}, or rows (a list of dicts, a data frame, a "
        f"datasets.Dataset), or a list of these, got {item!r:.80}"
    )
