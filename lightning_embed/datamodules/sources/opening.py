"""Opens a source: its files, its columns, and which of its rows can be used."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lightning_embed.batch import ANCHOR, NEGATIVE, POSITIVE
from lightning_embed.datamodules.sources import beir, filters, row_by_row
from lightning_embed.datamodules.sources.bad_rows import BadRow, BadRows
from lightning_embed.datamodules.sources.checks import check_types, find_bad, holds_texts
from lightning_embed.datamodules.sources.columns import (
    LABEL,
    NEGATIVE_SCORE,
    POSITIVE_SCORE,
    SCORE,
    find_roles,
    note_unused,
    unused_columns,
)
from lightning_embed.datamodules.sources.content import Content, count_without_negatives, same_in_all
from lightning_embed.datamodules.sources.formats import read
from lightning_embed.datamodules.sources.labelled import Labelled, codes, lone
from lightning_embed.datamodules.sources.pair_labels import settle_pair_label
from lightning_embed.datamodules.sources.places import places
from lightning_embed.datamodules.sources.rows import Rows
from lightning_embed.datamodules.sources.source import Source
from lightning_embed.datamodules.sources.table import Table
from lightning_embed.errors import UserError
from lightning_embed.utils.notes import note

Fault = tuple[str | None, str]
"""Column and reason of a row that cannot be used."""
FILTERED, UNLIKE, BAD = "do not meet the filter", "are pairs of label 0", "cannot be used"
NEGATIVES_BY_LABEL = 7
"""Negatives of other labels that a row of text and label gets unless its source says otherwise (the recipe's number)."""


def open_source(
    source: Source,
    needed: Sequence[str] = (ANCHOR, POSITIVE),
    bad_rows: BadRows | None = None,
    pairs_only: bool = False,
    texts_alone: bool = False,
    held_out: bool = False,
) -> Rows:
    """Opens a source: reads or converts its files, finds its columns, applies its filter and looks for bad rows.

    Args:
        source: What to open.
        needed: Roles that it must have; a label does for a positive, which is then drawn among the rows of that label.
        bad_rows: What becomes of rows that cannot be used; None: the first is an error.
        pairs_only: Whether rows labelled as pairs that do not belong together are left out.
        texts_alone: Whether a source without positives and labels will do, for losses that need none.
        held_out: Whether the rows of a BEIR folder are its judgements, rather than its queries.

    Raises:
        UserError: If a file is missing, empty or unreadable, a role has no column or a column of the wrong type, a row cannot be used,
            or none is left.
    """
    bad_rows = bad_rows or BadRows()
    table, files = read(source, bad_rows, held_out)
    if len(table) == 0:
        raise UserError(f"source '{source.title}': no rows in {', '.join(files)}; give a file with at least one row")
    faults = row_by_row.faults(table)
    if len(faults) == len(table):
        _refuse_all(source, table, files, faults)
    columns = [column for column in table.columns if column not in (*row_by_row.MARKS, beir.GRADE)]
    roles = find_roles(source, columns, needed, lambda column: holds_texts(table, column), texts_alone)
    _drop_empty(source, table, roles)
    check_types(table.schema, roles, source.title)
    unused = unused_columns(source, columns, roles)
    note_unused(source, unused)
    usable = _filtered(source, table)
    usable[list(faults)] = True  # a row that cannot be read had no chance to meet a condition
    filtered = len(table) - int(usable.sum())
    if not usable.any():
        raise UserError(
            f"source '{source.title}': none of its {len(table):,} rows meets {source.filter}; loosen the filter"
        )
    unlike = settle_pair_label(source, table, roles, usable, pairs_only)
    if not usable.any():
        raise UserError(f"source '{source.title}': not one of its pairs belongs together by its label")
    total = int(usable.sum())
    left_out = {FILTERED: filtered, UNLIKE: len(table) - filtered - total, BAD: 0}
    _add_faults(faults, table, roles, usable, all_of_them=bad_rows.skip)
    usable[list(faults)] = False
    labels = None
    drawn = POSITIVE in needed and POSITIVE not in roles and LABEL in roles
    if drawn and (bad_rows.skip or not faults):
        labels, names = codes(table, roles[LABEL][0])
        alone = np.flatnonzero(usable)[lone(labels[usable])].tolist()
        faults |= {row: (roles[LABEL][0], f"no other row has its label {names[labels[row]]!r}") for row in alone}
        usable[alone] = False
    if faults:
        bad = sorted(faults)
        named = places(bad, table, files, source)
        bad_rows.judge(source.title, [BadRow(named[row], *faults[row]) for row in bad], total)
    if not usable.any():
        _refuse_all(source, table, files, faults)
    kept = int(usable.sum())
    left_out[BAD] = total - kept
    without = _count_negatives(source, table, roles, usable)
    labelled = None
    if labels is not None:
        most = NEGATIVES_BY_LABEL if source.negatives is None else source.negatives
        labelled = Labelled(labels[usable], most, source.title)
    content = Content(
        left_out={why: rows for why, rows in left_out.items() if rows},
        unused=tuple(unused),
        unlike=unlike,
        without_negatives=without,
        same=same_in_all(table, roles, usable),
    )
    return Rows(source, table, roles, files, None if usable.all() else np.flatnonzero(usable), labelled, content)


def _count_negatives(source: Source, table: Table, roles: dict[str, list[str]], usable: NDArray[np.bool_]) -> int:
    """How many rows have no negative; where none has one, negatives are no role of the source's."""
    if NEGATIVE not in roles:
        return 0
    without = count_without_negatives(table, roles[NEGATIVE], usable)
    rows = int(usable.sum())
    if without == rows:
        note(f"source '{source.title}': no row has a negative (column {', '.join(roles[NEGATIVE])})")
    if without == rows or source.negatives == 0:
        del roles[NEGATIVE]
        roles.pop(NEGATIVE_SCORE, None)
    return without % rows


def _refuse_all(source: Source, table: Table, files: list[str], faults: dict[int, Fault]) -> None:
    first = min(faults)
    row = BadRow(places([first], table, files, source)[first], *faults[first])
    raise UserError(f"source '{source.title}': not one of its {len(faults):,} rows can be used; the first: {row}")


def _drop_empty(source: Source, table: Table, roles: dict[str, list[str]]) -> None:
    """Takes scores, and labels of pairs, of which no row has any out of the roles."""
    import pyarrow as pa

    for role in (SCORE, POSITIVE_SCORE, NEGATIVE_SCORE, *([LABEL] if POSITIVE in roles else [])):
        if role in roles and pa.types.is_null(table.schema.field(roles[role][0]).type):
            note(
                f"source '{source.title}': column '{roles.pop(role)[0]}' ({role}) is empty in all rows: it is not used"
            )


def _add_faults(
    faults: dict[int, Fault], table: Table, roles: dict[str, list[str]], usable: NDArray[np.bool_], all_of_them: bool
) -> None:
    """Adds column and reason of the first, or of all, bad rows."""
    for row, column, reason in find_bad(table, roles):
        if usable[row] and row not in faults:
            faults[row] = (column, reason)
            if not all_of_them:
                return


def _filtered(source: Source, table: Table) -> NDArray[np.bool_]:
    """Which rows meet the source's conditions."""
    if not source.filter:
        return np.ones(len(table), dtype=bool)
    parsed = [filters.parse(condition, source.title, table.columns) for condition in source.filter]
    parts = []
    for batch in table.batches(list(dict.fromkeys(column for column, _, _ in parsed))):
        good = np.ones(len(batch), dtype=bool)
        for condition, (column, function, value) in zip(source.filter, parsed, strict=True):
            matches = filters.matching(batch.column(column), function, value, source.title, condition)
            good &= np.asarray(matches, dtype=bool)
        parts.append(good)
    return np.concatenate(parts)
