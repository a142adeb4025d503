"""Holds a share of the rows out of training, so that no text is on both sides, however it is written or whatever its role.

Rows that share a text belong together: whole groups are held out, in the order of a hash of their texts. So the choice depends on
neither the order of the rows nor the number of ranks.
"""

import re
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_embed.batch import ROLES, text_key
from lightning_embed.datamodules.sources.labelled import lone
from lightning_embed.datamodules.sources.rows import Rows, as_list
from lightning_embed.errors import UserError
from lightning_embed.utils.notes import note

READ = 4_096
_FOLDED = re.compile(r"[\W_]+")


def near_key(text: str) -> int:
    """A 64-bit hash that texts share which differ in case, white space and punctuation alone.

    Args:
        text: Any text; one of punctuation alone is its own key.
    """
    return text_key(_FOLDED.sub(" ", text.casefold()).strip() or text)


class Keys(NamedTuple):
    """The texts of a source's rows, as hashes."""

    rows: int
    """n, how many rows there are."""
    owners: NDArray[np.int64]
    """(k,) the row, 0 to n - 1, of each text."""
    keys: NDArray[np.int64]
    """(k,) `near_key` of each text."""

    @staticmethod
    def of(rows: Iterable[Iterable[str]]) -> "Keys":
        """The keys of some rows.

        Args:
            rows: The texts of each row.
        """
        owners, keys, count = array("q"), array("q"), 0
        for count, texts in enumerate(rows, start=1):
            mine = {near_key(text) for text in texts}
            owners.extend([count - 1] * len(mine))
            keys.extend(mine)
        return Keys(count, np.array(owners, dtype=np.int64), np.array(keys, dtype=np.int64))


def hold_out(sources: Sequence[Keys], shares: Sequence[float]) -> list[NDArray[np.int8]]:
    """Which part each row goes to: 0, training, or 1, 2 … for the shares.

    Args:
        sources: The texts of each source.
        shares: The share of each source's rows, 0 to 1, that each part is to have; rounded down, but at least one row.

    Returns:
        For each source (n,) the part of each row. A part has fewer rows where groups of rows with a common text are too large for it.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    sizes = [own.rows for own in sources]
    source_of = np.repeat(np.arange(len(sizes)), sizes)
    rows, starts = len(source_of), np.cumsum([0, *sizes[:-1]])
    owners = np.concatenate([own.owners + start for own, start in zip(sources, starts, strict=True)])
    keys = np.concatenate([own.keys for own in sources])
    distinct, places = np.unique(keys, return_inverse=True)
    nodes = rows + len(distinct)
    graph = coo_array((np.ones(len(keys), dtype=bool), (owners, places + rows)), shape=(nodes, nodes))
    group = connected_components(graph, directed=False)[1][:rows]
    least = np.full(nodes, np.iinfo(np.int64).max)  # of a group's keys, which orders the groups
    np.minimum.at(least, group[owners], keys)
    order = np.lexsort((group, least[group]))
    groups = np.split(order, np.flatnonzero(np.diff(group[order])) + 1)
    part = np.zeros(rows, dtype=np.int8)
    left = np.array([[min(max(1, int(share * n)), n // 2) for n in sizes] for share in shares])
    for members in groups:
        counts = np.bincount(source_of[members], minlength=len(sizes))
        fits = np.flatnonzero((counts <= left).all(axis=1))
        if len(fits):
            part[members] = fits[0] + 1
            left[fits[0]] -= counts
        if not left.any():
            break
    return np.split(part, starts[1:])


def texts_of(rows: Rows) -> Iterator[list[str]]:
    """All texts of each row of a source.

    Args:
        rows: The source.
    """
    for start in range(0, len(rows), READ):
        taken = rows.take(range(start, min(start + READ, len(rows))))
        for row in zip(*(taken[role] for role in ROLES if role in taken), strict=True):
            yield [text for cell in row for text in as_list(cell)]


def split_rows(sources: Sequence[Rows], share: float, parts: Sequence[str]) -> list[dict[str, NDArray[np.int64]]]:
    """For each source, `train` and each part -> the numbers of its table's rows; a note says how many are held out.

    Args:
        sources: The opened sources.
        share: The share of each source's rows that is held out, in equal parts.
        parts: `validation`, `test` or both.

    Raises:
        UserError: If not one row can be held out.
    """
    shares = [share / len(parts)] * len(parts)
    found = hold_out([Keys.of(texts_of(rows)) for rows in sources], shares)
    if sources and not any(part.any() for part in found):
        raise UserError(
            f"holdout: not one of {sum(map(len, found)):,} training rows can be held out, because too many of them share a text with "
            "others; give data.validation"
        )
    numbers = []
    for rows, part in zip(sources, found, strict=True):
        own = np.arange(len(rows.table)) if rows.kept is None else rows.kept
        numbers.append({name: own[part == number] for number, name in enumerate(("train", *parts))})
        counts = " and ".join(f"{len(numbers[-1][name]):,} for {name}" for name in parts)
        note(
            f"source '{rows.source.title}': of {len(rows):,} rows, {counts} are held out, with no text of a training row"
        )
    return numbers


def restricted(rows: Rows, kept: NDArray[np.int64]) -> Rows:
    """The rows of a source that are among some rows of its table; of text and label, those whose label another of them has, if they have
    several labels.

    Args:
        rows: The source.
        kept: Numbers of the table's rows.
    """
    own = np.arange(len(rows.table)) if rows.kept is None else rows.kept
    if len(own) == len(kept):
        return rows
    inside, labelled, who = np.isin(own, kept), rows.labelled, f"source '{rows.source.title}'"
    if labelled is not None:
        alone = np.flatnonzero(inside)[lone(labelled.codes[inside])]
        inside[alone] = False
        if len(alone):
            note(f"{who}: {len(alone):,} rows are left out, because the holdout leaves no other row of their label")
        if len(np.unique(labelled.codes[inside])) < 2:
            note(f"{who}: {int(inside.sum()):,} held-out rows are left out, because they have one label")
            inside[:] = False
        else:
            labelled = labelled.of(inside)
    return Rows(rows.source, rows.table, rows.columns, rows.files, own[inside], labelled, rows.content)
