"""Which texts the plan can ask the teacher for, and how many of them are stored."""

from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from lightning_embed.batch import ANCHOR, ROLES
from lightning_embed.datamodules.sources.rows import Rows
from lightning_embed.datamodules.teacher_store.lookup import EVALUATED, TeacherLookup
from lightning_embed.datamodules.teacher_store.store import content_keys
from lightning_embed.errors import UserError
from lightning_embed.utils.teacher_names import ONE

COUNTED_ROWS = 50_000
"""Rows that are looked up as a fit starts, to say how many texts are stored; of more rows, a sample."""
_WINDOW = 4_096


class Column(NamedTuple):
    """Texts of one role of some rows of a source."""

    source: str
    role: str
    prompt: str
    """Name of the prompt that they get."""
    max_length: int | None
    """Tokens after which the source cuts them."""
    texts: list[str]
    rows: list[int]
    """The row of each text."""


Wanted = tuple[Rows, frozenset[str]]
"""A source and the roles whose teacher vectors are used."""


def columns(rows: Rows, roles: frozenset[str], numbers: Sequence[int]) -> Iterator[Column]:
    """Every text that the plan can ask for of some rows, in whatever epoch.

    Args:
        rows: The source.
        roles: Roles that are wanted.
        numbers: Row numbers from 0.
    """
    taken = rows.take(numbers)
    named = rows.numbers(numbers)
    for role in ROLES:
        # rows of text and label: any row's text may be drawn as another one's positive or negative
        cells = taken.get(ANCHOR if rows.labelled is not None else role)
        if role in roles & rows.roles and cells is not None:
            pairs = [(n, t) for n, cell in zip(named, cells, strict=True) for t in _texts(cell)]
            prompt = rows.source.prompt_of(role, rows.roles)
            texts, places = [text for _, text in pairs], [number for number, _ in pairs]
            yield Column(rows.source.title, role, prompt, rows.source.max_length, texts, places)


def _texts(cell: str | list[str]) -> list[str]:
    return cell if isinstance(cell, list) else [cell]


def all_columns(wanted: Sequence[Wanted], most_rows: int | None = None) -> Iterator[Column]:
    """The texts of several sources, some thousand rows at a time.

    Args:
        wanted: Sources, and the roles that are wanted of each.
        most_rows: Rows in all; of more, an even sample of windows. None: every row.
    """
    windows = [(rows, roles, s) for rows, roles in wanted for s in range(0, len(rows), _WINDOW)]
    if most_rows is not None and sum(len(rows) for rows, _ in wanted) > most_rows:
        most = min(len(windows), max(1, most_rows // _WINDOW))
        windows = [windows[i * len(windows) // most] for i in range(most)]
    for rows, roles, start in windows:
        yield from columns(rows, roles, range(start, min(start + _WINDOW, len(rows))))


def count_stored(lookup: TeacherLookup, wanted: Sequence[Wanted], most_rows: int | None = None) -> tuple[int, int]:
    """How many different texts are stored, and of how many.

    Args:
        lookup: The teacher's vectors.
        wanted: Sources, and the roles that are wanted of each.
        most_rows: Rows that are looked at; of more, a sample. None: every row.

    Raises:
        UserError: If a vector is missing that nothing else can give.
    """
    keys = []
    for column in all_columns(wanted, most_rows):
        keys.append(lookup.keys(column.texts, column.prompt, column.max_length))
        if lookup.required:
            lost = np.flatnonzero(~lookup.store.has(keys[-1]))
            if len(lost):
                raise lookup.missing(column.source, column.rows[lost[0]], column.role, column.texts[lost[0]])
    different = np.unique(np.concatenate(keys)) if keys else content_keys([])
    return int(lookup.store.has(different).sum()), len(different)


def coverage_line(lookup: TeacherLookup, wanted: Sequence[Wanted], teacher: str = ONE) -> str:
    """What a fit says of the store as it starts.

    Args:
        lookup: The teacher's vectors.
        wanted: Sources, and the roles that are wanted of each.
        teacher: Its name, where there are several.
    """
    stored, different = count_stored(lookup, wanted, COUNTED_ROWS)
    sampled = sum(len(rows) for rows, _ in wanted) > COUNTED_ROWS
    seen = "texts looked at" if sampled else "texts"
    then = (
        "the teacher is not loaded"
        if stored == different
        else "the teacher computes the others (python -m lightning_embed cache stores them)"
    )
    if lookup.required:
        then = "no teacher runs"
    of = f"{teacher}: " if teacher else ""
    return f"teacher store: {of}{stored:,} of {different:,} {seen} are stored in {lookup.store.path}; {then}"


def wanted_roles(rows: Sequence[Rows], split: str, train_roles: frozenset[str], teacher: str = ONE) -> list[Wanted]:
    """Each source of a split with the roles whose teacher vectors are used: the losses' in training, the pairs' in evaluation.

    Sources that name other teachers alone are left out.

    Args:
        rows: The split's sources.
        split: `train`, `validation` or `test`.
        train_roles: Roles that a loss wants the teacher's vectors of.
        teacher: Its name, where there are several.
    """
    return [(one, train_roles if split == "train" else EVALUATED) for one in rows if one.source.has_teacher(teacher)]


def check_teachers(rows: Sequence[Rows], teachers: Collection[str]) -> None:
    """Raises `UserError` at the first source that names a teacher that there is not.

    Args:
        rows: Opened sources.
        teachers: The teachers' names; a lone one has none.
    """
    names = [name for name in teachers if name != ONE]
    for source in (one.source for one in rows):
        unknown = [name for name in source.teachers or [] if name not in names]
        if unknown:
            known = f"the teachers are {', '.join(names)}" if names else "model.teacher is no mapping of names"
            raise UserError(f"source '{source.title}': teachers: there is no teacher '{unknown[0]}'; {known}")
