"""Finds, column by column in Arrow, the rows whose values cannot be used."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_embed.batch import NEGATIVE, POSITIVE
from lightning_embed.datamodules.sources.columns import (
    DOCUMENT,
    LABEL,
    NEGATIVE_SCORE,
    POSITIVE_SCORE,
    SCORE,
    number_of,
)
from lightning_embed.datamodules.sources.raw_rows import ENCODING
from lightning_embed.datamodules.sources.sniff import decodes
from lightning_embed.datamodules.sources.table import Table
from lightning_embed.errors import UserError

SCORES = (SCORE, POSITIVE_SCORE, NEGATIVE_SCORE)
SAMPLED = 1_000
"""Rows that say whether a column of texts holds numbers alone."""


def is_text(kind: Any) -> bool:
    """Whether an Arrow type holds text: strings, passages of title and text, or lists of either.

    Args:
        kind: The Arrow type of a column.
    """
    import pyarrow as pa

    if is_list(kind):
        kind = kind.value_type
    if pa.types.is_struct(kind):
        return kind.get_field_index("text") >= 0 and is_text(kind.field("text").type)
    return _is_string(kind) or pa.types.is_null(kind)  # null: a column, or its lists, without a single value


def _is_string(kind: Any) -> bool:
    import pyarrow as pa

    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def holds_texts(table: Table, column: str) -> bool:
    """Whether a column holds texts that are not all numbers (in a CSV, numbers are texts); its first rows decide.

    Args:
        table: The rows.
        column: The column's name.
    """
    if not is_text(table.schema.field(column).type):
        return False
    cells = table.take(range(min(SAMPLED, len(table))), [column])[column]
    values = [cell for cell in cells if cell is not None and (not isinstance(cell, str) or cell.strip())]
    return not values or not all(isinstance(value, str) and number_of(value) is not None for value in values)


def check_types(schema: Any, roles: dict[str, list[str]], title: str) -> None:
    """Raises `UserError` at the first column whose type does not suit its role.

    Args:
        schema: The table's Arrow schema.
        roles: Role -> columns.
        title: The source's name.
    """
    import pyarrow as pa

    for role, columns in roles.items():
        for column in columns:
            kind = schema.field(column).type
            inner = kind.value_type if role in SCORES and is_list(kind) else kind
            number = pa.types.is_integer(inner) or pa.types.is_floating(inner) or pa.types.is_boolean(inner)
            words = _is_string(inner)  # a label, or a CSV column in which one cell is not a number
            expected, good = "text", is_text(kind)
            if role in SCORES:
                expected, good = "numbers", number or words or pa.types.is_null(inner)
            elif role in (LABEL, DOCUMENT):
                expected, good = "whole numbers or text", number or words
            if not good:
                raise UserError(
                    f"source '{title}': column '{column}' ({role}) must hold {expected}, it holds {kind}; name another one "
                    "in `columns`"
                )


def find_bad(table: Table, roles: dict[str, list[str]]) -> Iterator[tuple[int, str, str]]:
    """Row number, column and reason of each value that cannot be used, in the order of the rows: blank or undecodable texts, scores that
    are not finite numbers, or not as many as the documents, missing labels. Negatives may be missing.

    Args:
        table: The rows.
        roles: Role -> columns.
    """
    columns = {column: role for role, names in roles.items() for column in names}
    start = 0
    for batch in table.batches(list(columns)):
        found = [
            (start + row, column, reason)
            for column, role in columns.items()
            for row, reason in _bad_of(batch.column(column), role)
        ]
        found += [(start + row, column, reason) for row, column, reason in _miscounted(batch, roles)]
        yield from sorted(found)
        start += len(batch)


def _bad_of(values: Any, role: str) -> Iterator[tuple[int, str]]:
    import pyarrow as pa
    import pyarrow.compute as pc

    flat, parents = _flat(values)
    undecodable = _undecodable(flat)
    if undecodable is not None:  # such a column can be looked at no further
        yield from ((row, f"expected UTF-8, got other bytes{ENCODING}") for row in _rows(undecodable, parents))
    elif role in (LABEL, DOCUMENT):
        good = pc.is_valid(values)
        if pa.types.is_floating(values.type):
            good = pc.fill_null(pc.and_(pc.is_finite(values), pc.equal(values, pc.floor(values))), False)
        for row in _where(pc.invert(good)):
            value = values[row].as_py()
            yield row, f"expected a {role}, got {'none' if value is None else value}"
    elif role in SCORES:
        yield from _bad_scores(values, may_be_none=role == NEGATIVE_SCORE)
    elif role != NEGATIVE:
        yield from _bad_texts(values)


def _miscounted(batch: Any, roles: dict[str, list[str]]) -> Iterator[tuple[int, str, str]]:
    """Row, column and reason where the scores of a row are not as many as the texts that they are of."""
    if SCORE in roles and NEGATIVE in roles and is_list(batch.column(roles[SCORE][0]).type):
        negatives, given = count_of(batch, roles[NEGATIVE]), count_of(batch, roles[SCORE])
        for row in np.flatnonzero(given != 1 + negatives).tolist():
            yield row, roles[SCORE][0], f"{given[row]} scores for 1 positive and {negatives[row]} negatives"
    for scores, role in ((POSITIVE_SCORE, POSITIVE), (NEGATIVE_SCORE, NEGATIVE)):
        if scores in roles:
            texts, given = count_of(batch, roles[role]), count_of(batch, roles[scores])
            for row in np.flatnonzero(given != texts).tolist():
                yield row, roles[scores][0], f"{given[row]} scores for {texts[row]} {role}s"


def count_of(batch: Any, columns: list[str]) -> NDArray[np.int64]:
    """(n,) numbers, or texts that are not blank, of each row in some columns together.

    Args:
        batch: An Arrow record batch.
        columns: Columns of values, or of lists of them.
    """
    counts = np.zeros(len(batch), dtype=np.int64)
    for column in columns:
        flat, parents = _flat(batch.column(column))
        owners = np.arange(len(flat)) if parents is None else np.asarray(parents)
        there = ~_blank(_text_of(flat)) if is_text(flat.type) else np.asarray(flat.is_valid())
        counts += np.bincount(owners[there], minlength=len(batch))
    return counts


def _bad_scores(values: Any, may_be_none: bool) -> Iterator[tuple[int, str]]:
    import pyarrow as pa
    import pyarrow.compute as pc

    flat, parents = _flat(values)
    if _is_string(flat.type):
        flat = pa.array([number_of(text) for text in flat.to_pylist()], "float64")
    good = pc.fill_null(pc.is_finite(flat.cast("float64", safe=False)), False)
    for row in _rows(pc.invert(good), parents):
        yield row, f"expected a finite number, got {values[row].as_py()!r}"
    if parents is not None and not may_be_none:
        yield from ((row, "expected a score, got none") for row in _where(pc.equal(_lengths(values), 0)))


def _bad_texts(values: Any) -> Iterator[tuple[int, str]]:
    import pyarrow.compute as pc

    flat, parents = _flat(values)
    for row in _rows(_blank(_text_of(flat)), parents):
        yield row, "expected a text, got an empty one"
    if parents is not None:
        yield from ((row, "expected a text, got none") for row in _where(pc.equal(_lengths(values), 0)))


def _text_of(flat: Any) -> Any:
    """The texts of a column of passages; a column of texts is its own."""
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.struct_field(flat, "text") if pa.types.is_struct(flat.type) else flat


def _blank(texts: Any) -> NDArray[np.bool_]:
    """(n,) which texts are missing, empty or white space."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_null(texts.type):
        return np.ones(len(texts), dtype=bool)
    empty = pc.or_(pc.equal(pc.binary_length(texts), 0), pc.utf8_is_space(texts))
    return np.asarray(pc.fill_null(empty, True))


def _undecodable(flat: Any) -> NDArray[np.bool_] | None:
    """(n,) which values hold a string that is not UTF-8; None if all are fine."""
    import pyarrow as pa

    parts = [flat.field(i) for i in range(flat.type.num_fields)] if pa.types.is_struct(flat.type) else [flat]
    bad = None
    for part in [part for part in parts if _is_string(part.type)]:
        try:
            part.validate(full=True)
        except pa.ArrowInvalid:  # only now is each of them looked at
            flags = np.array([not decodes(text) for text in part.cast(pa.large_binary()).to_pylist()])
            bad = flags if bad is None else bad | flags
    return bad


def is_list(kind: Any) -> bool:
    """Whether an Arrow type holds lists.

    Args:
        kind: The Arrow type of a column.
    """
    import pyarrow as pa

    return pa.types.is_list(kind) or pa.types.is_large_list(kind)


def _flat(values: Any) -> tuple[Any, Any]:
    """The items of a list column and the row of each; the column itself and None if it holds no lists."""
    import pyarrow.compute as pc

    return (pc.list_flatten(values), pc.list_parent_indices(values)) if is_list(values.type) else (values, None)


def _lengths(values: Any) -> Any:
    """Items of each list; 0 where it is missing."""
    import pyarrow.compute as pc

    return pc.fill_null(pc.list_value_length(values), 0)


def _where(flags: Any) -> list[int]:
    """Numbers of the rows whose flag is true."""
    return np.flatnonzero(np.asarray(flags)).tolist()


def _rows(flags: Any, parents: Any) -> list[int]:
    """Numbers of the rows that have an item whose flag is true."""
    found = _where(flags)
    return found if parents is None else np.unique(np.asarray(parents)[found]).tolist()
