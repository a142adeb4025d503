"""Finds, column by column in Arrow, the rows whose values cannot be used."""

from collections.abc import Iterator
from typing import Any

from lightning_embed.batch import NEGATIVE
from lightning_embed.datamodules.columns import DOCUMENT, LABEL, SCORE
from lightning_embed.datamodules.formats import arrow_batches
from lightning_embed.errors import UserError


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
    return _is_string(kind)


def _is_string(kind: Any) -> bool:
    import pyarrow as pa

    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


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
            inner = kind.value_type if role == SCORE and is_list(kind) else kind
            number = pa.types.is_integer(inner) or pa.types.is_floating(inner) or pa.types.is_null(inner)
            numbers = number or _is_string(inner)  # a CSV column in which one cell is no number
            classes = pa.types.is_integer(kind) or pa.types.is_boolean(kind) or _is_string(kind)
            expected, good = {
                SCORE: ("numbers", numbers),
                LABEL: ("whole numbers or text", classes),
                DOCUMENT: ("whole numbers or text", classes),
            }.get(role, ("text", is_text(kind)))
            if not good:
                raise UserError(
                    f"source '{title}': column '{column}' ({role}) must hold {expected}, it holds {kind}; name another one "
                    "in `columns`"
                )


def find_bad(table: Any, roles: dict[str, list[str]]) -> Iterator[tuple[int, str, str]]:
    """Row number, column and reason of each value that cannot be used: blank or undecodable texts, scores that are no finite numbers,
    missing labels. Negatives may be missing.

    Args:
        table: A `datasets.Dataset`.
        roles: Role -> columns.
    """
    import pyarrow as pa

    columns = {column: role for role, names in roles.items() for column in names}
    start = 0
    for batch in arrow_batches(table, list(columns)):
        for column, role in columns.items():
            values = batch.column(column)
            if isinstance(values, pa.ChunkedArray):
                values = values.combine_chunks()
            for row, reason in _bad_of(values, role):
                yield start + row, column, reason
        start += len(batch)


def _bad_of(values: Any, role: str) -> Iterator[tuple[int, str]]:
    import pyarrow.compute as pc

    if role in (LABEL, DOCUMENT):
        yield from ((row, f"expected a {role}, got none") for row in _where(pc.is_null(values)))
    elif role == SCORE:
        yield from _bad_scores(values)
    else:
        yield from _bad_texts(values, role)


def _bad_scores(values: Any) -> Iterator[tuple[int, str]]:
    import pyarrow as pa
    import pyarrow.compute as pc

    flat, parents = _flat(values)
    if _is_string(flat.type):
        flat = pa.array([_number(text) for text in flat.to_pylist()], "float64")
    good = pc.fill_null(pc.is_finite(flat.cast("float64")), False)
    for row in _rows(pc.invert(good), parents):
        yield row, f"expected a finite number, got {values[row].as_py()!r}"
    if parents is not None:
        yield from ((row, "expected a score, got none") for row in _where(_lacking(values)))


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None


def _bad_texts(values: Any, role: str) -> Iterator[tuple[int, str]]:
    import pyarrow as pa
    import pyarrow.compute as pc

    flat, parents = _flat(values)
    if pa.types.is_struct(flat.type):
        flat = flat.field("text")
    try:
        flat.validate(full=True)
    except pa.ArrowInvalid:  # a text is no UTF-8: only now is each of them looked at
        flags = pa.array([not _decodes(text) for text in flat.cast(pa.large_binary()).to_pylist()])
        yield from ((row, "expected UTF-8, got other bytes") for row in _rows(flags, parents))
        return
    if role == NEGATIVE:
        return
    good = pc.fill_null(pc.match_substring_regex(flat, r"\S"), False)
    yield from ((row, "expected a text, got an empty one") for row in _rows(pc.invert(good), parents))
    if parents is not None:
        yield from ((row, "expected a text, got none") for row in _where(_lacking(values)))


def _decodes(text: bytes | None) -> bool:
    try:
        return text is None or bool(text.decode("utf-8")) or True
    except UnicodeDecodeError:
        return False


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


def _lacking(values: Any) -> Any:
    """Which lists are missing or empty."""
    import pyarrow.compute as pc

    return pc.equal(pc.fill_null(pc.list_value_length(values), 0), 0)


def _where(flags: Any) -> list[int]:
    """Numbers of the rows whose flag is true."""
    import pyarrow.compute as pc

    return pc.indices_nonzero(flags).to_pylist() if pc.any(flags).as_py() else []


def _rows(flags: Any, parents: Any) -> list[int]:
    """Numbers of the rows that have an item whose flag is true."""
    found = _where(flags)
    return found if parents is None else sorted({parents[item].as_py() for item in found})
