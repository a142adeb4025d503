"""Conditions on rows, such as "score >= 0.5", evaluated on Arrow columns."""

import ast
import re
from typing import Any

from lightning_embed.errors import UserError

OPERATORS = {"==": "equal", "!=": "not_equal", "<": "less", "<=": "less_equal", ">": "greater", ">=": "greater_equal"}
_FORM = re.compile(r"\s*(.+?)\s*(==|!=|<=|>=|<|>)\s*(.+?)\s*")


def parse(condition: str, title: str, found: list[str]) -> tuple[str, str, Any]:
    """Column, name of the Arrow function, and value of a condition.

    Args:
        condition: `COLUMN OPERATOR VALUE`; the value is a number, a quoted text, True or False.
        title: The source's name.
        found: The columns of the data.

    Raises:
        UserError: If it has another form, or the column does not exist.
    """
    match = _FORM.fullmatch(condition)
    try:
        if match is None:
            raise ValueError
        column, operator, value = match[1], match[2], ast.literal_eval(match[3])
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise UserError(
            f"source '{title}': filter '{condition}': expected COLUMN OPERATOR VALUE with one of {' '.join(OPERATORS)} and a number "
            'or a quoted text, such as "score >= 0.5" or "language == \'en\'"'
        ) from None
    if column not in found:
        raise UserError(f"source '{title}': filter '{condition}': no column '{column}' among {', '.join(found)}")
    return column, OPERATORS[operator], value


def matching(values: Any, function: str, value: Any, title: str, condition: str) -> Any:
    """A Boolean Arrow array: which values meet a condition; missing ones do not.

    Args:
        values: An Arrow array.
        function: Name of the comparison in `pyarrow.compute`.
        value: What to compare with.
        title: The source's name.
        condition: As the user wrote it.

    Raises:
        UserError: If the column's type cannot be compared with the value.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        if isinstance(value, int | float) and pa.types.is_string(values.type):  # the columns of a CSV are text
            values = values.cast("float64")
        return pc.fill_null(getattr(pc, function)(values, pa.scalar(value)), False)
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        raise UserError(
            f"source '{title}': filter '{condition}': the column holds {values.type}, which does not compare with {value!r}"
        ) from None
