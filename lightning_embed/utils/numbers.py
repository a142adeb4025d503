"""Whether a setting is a number, and within its range."""

from collections.abc import Sequence
from math import isfinite
from numbers import Integral, Real
from typing import Any

from lightning_embed.errors import UserError


def check_number(
    name: str,
    value: Any,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
    whole: bool = False,
    optional: bool = False,
) -> None:
    """Raises `UserError` unless a setting is a finite number within its range; True and False are no numbers.

    Args:
        name: What the setting is called.
        value: What was given.
        least: The least that it may be.
        above: What it must be above.
        most: The most that it may be.
        below: What it must be below.
        whole: Whether it must be a whole number.
        optional: Whether it may be None.
    """
    if value is None and optional:
        return
    kind = Integral if whole else Real
    inside = isinstance(value, kind) and not isinstance(value, bool) and isfinite(value)
    limits = ((least, "__ge__"), (above, "__gt__"), (most, "__le__"), (below, "__lt__"))
    if inside and all(limit is None or getattr(float(value), compare)(float(limit)) for limit, compare in limits):
        return
    words = [f"{word} {limit:,g}" for word, (limit, _) in zip(WORDS, limits, strict=True) if limit is not None]
    number = "" if inside else "a whole number " if whole else "a finite number "
    none = " or null" if optional else ""
    raise UserError(f"{name} must be {number}{' and '.join(words)}".rstrip() + f"{none}, got {value!r:.80}")


def check_numbers(
    name: str,
    values: Any,
    least: float | None = None,
    above: float | None = None,
    whole: bool = False,
    optional: bool = False,
) -> None:
    """Raises `UserError` unless a setting is a list of one or more numbers, each of which passes `check_number`.

    Args:
        name: What the setting is called.
        values: What was given.
        least: As for `check_number`, as are `above` and `whole`.
        optional: Whether None may be given in place of the list.
    """
    if values is None and optional:
        return
    if not isinstance(values, Sequence) or isinstance(values, str) or not len(values):
        raise UserError(f"{name} must be a list of one or more numbers, got {values!r:.80}")
    for value in values:
        check_number(f"{name}: each", value, least=least, above=above, whole=whole)


WORDS = ("at least", "above", "at most", "below")
