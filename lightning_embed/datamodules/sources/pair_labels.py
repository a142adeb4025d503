"""A label beside two texts: is it about the pair (the two mean the same, or not), or the class of each text?"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_embed.batch import ANCHOR, POSITIVE
from lightning_embed.datamodules.sources.columns import LABEL, SCORE, number_of
from lightning_embed.datamodules.sources.labelled import codes
from lightning_embed.datamodules.sources.source import Source
from lightning_embed.datamodules.sources.table import Table
from lightning_embed.errors import UserError
from lightning_embed.utils.notes import note

CLASSES = ("classification", "clustering")
"""Tasks whose labels are classes of texts."""
RELATIONS = {"entailment", "neutral", "contradiction"}
FEW = 4
"""So few different labels beside two texts are hardly topics: they say how the two relate."""


def settle_pair_label(
    source: Source, table: Table, roles: dict[str, list[str]], usable: NDArray[np.bool_], pairs_only: bool
) -> int:
    """Takes a label of pairs for what it is, in `roles` and `usable`; returns how many pairs of label 0 are left.

    Labels of 0 and 1, and graded ones, become the pair's score; a label that all rows have is dropped; of others, a few different ones
    are refused, and many are the texts' classes.

    Args:
        source: Its `task` may say that labels are classes.
        table: Its rows.
        roles: Role -> columns; changed.
        usable: (n,) which rows count; changed if `pairs_only`.
        pairs_only: Whether rows of label 0 are left out, because every row is taken for a pair that belongs together.

    Raises:
        UserError: If it is open what the labels mean.
    """
    if POSITIVE not in roles or LABEL not in roles or SCORE in roles or source.task in CLASSES:
        return 0
    column = roles[LABEL][0]
    try:
        which, names = codes(table, column)
    except UnicodeDecodeError:  # `find_bad` names the row
        return 0
    counts = np.bincount(which[usable & (which >= 0)], minlength=len(names))
    found = [name for name, count in zip(names, counts, strict=True) if count]
    numbers = [number_of(name) for name in names]
    whole, given = set(numbers), {n for n, count in zip(numbers, counts, strict=True) if count}
    who = f"source '{source.title}': column '{column}'"
    if _is_score(given, whole):
        del roles[LABEL]
        roles[SCORE] = [column]
        zeros = np.array([number == 0 for number in [*numbers, None]])[
            which
        ]  # the last one is for rows without a label
        unlike = int((zeros & usable).sum()) if whole <= {0, 1} else 0
        if unlike and pairs_only:
            usable &= ~zeros
            note(f"{who}: {unlike:,} pairs of label 0 do not belong together and are left out here")
            return 0
        if whole <= {0, 1}:
            note(
                f"{who} holds 0 and 1 beside two texts: it is taken as the pair's score; task: classification makes it a class"
            )
        return unlike
    if len(found) == 1:
        del roles[LABEL]
        if not any(condition.strip().startswith(column) for condition in source.filter or []):
            note(f"{who} is {found[0]!r} in all rows, which tells nothing: it is not used")
    elif len(found) <= FEW:
        shown = ", ".join(map(str, found))
        if _names_a_relation(roles) or RELATIONS & {str(name).lower() for name in found}:
            raise UserError(
                f"{who} holds {shown} beside two texts; if it says which pairs belong together, choose those with filter: "
                f'["{column} == {found[0]!r}"] or so; if it is the class of both texts, say task: classification'
            )
        note(
            f"{who} holds {shown}: it is taken as the class of anchor and positive, all of which count as pairs that belong together"
        )
    return 0


def _is_score(given: set[Any], whole: set[Any]) -> bool:
    """Whether labels are 0 and 1, of which a filter may have left 0 alone, or graded."""
    if not given or None in given:
        return False
    return (0 in given and whole <= {0, 1}) or any(number != int(number) for number in given)


def _names_a_relation(roles: dict[str, list[str]]) -> bool:
    """Whether the columns are named as two texts whose relation is asked for, and not as an anchor and its positive."""
    return any(roles[role][0].strip().lower() != role for role in (ANCHOR, POSITIVE) if role in roles)
