"""Numbers and texts as people read them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

BLOCKS = " ▁▂▃▄▅▆▇█"


def bars(counts: Sequence[int]) -> str:
    """Numbers as a line of bars; what is not 0 is never blank.

    Args:
        counts: The numbers.
    """
    top = max(counts, default=0)
    return "".join(BLOCKS[-(-count * (len(BLOCKS) - 1) // top)] if count else BLOCKS[0] for count in counts)


def one_line(text: str, width: int) -> str:
    """A text in one line of at most `width` characters: what cannot be printed is escaped, the middle is left out.

    Args:
        text: With line breaks or without.
        width: ≥ 3.
    """
    if len(text) <= width and len(shown := _escaped(text)) <= width:
        return shown
    front = (width - 1) * 2 // 3
    return _escaped(text[:width])[:front] + "…" + _escaped(text[-width:])[-(width - 1 - front) :]


def _escaped(text: str) -> str:
    return "".join(c if c.isprintable() and c != "\\" else c.encode("unicode_escape").decode() for c in text)


def size(count: float) -> str:
    """Bytes in MB or GB.

    Args:
        count: The bytes.
    """
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"


def share(part: float) -> str:
    """A share in per cent, with a decimal where it is small.

    Args:
        part: 0 to 1.
    """
    if 0 < part < 0.001:
        return "< 0.1 %"
    return f"{100 * part:.0f} %" if part == 0 or part >= 0.0995 else f"{100 * part:.1f} %"


def duration(seconds: float) -> str:
    """Seconds as people say them: `48 s`, `3 min 5 s`, `2 h 10 min`.

    Args:
        seconds: How many.
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def clock(seconds: float) -> str:
    """Seconds as a clock shows them: `0:48`, `12:05`, `2:10:00`, and days from two of them on.

    Args:
        seconds: How many.
    """
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 48:
        return f"{hours // 24} d {hours % 24} h"
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def plural(count: int, thing: str) -> str:
    """A count and what is counted: `1 anchor`, `1,000 anchors`.

    Args:
        count: How many.
        thing: One of them.
    """
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def about(number: float) -> str:
    """A number of two digits or more, without an exponent: `0.25`, `1.7`, `17`, `1,667`.

    Args:
        number: From 0 on.
    """
    return f"{number:,.0f}" if number >= 10 else f"{number:.2g}"


def print_words(console: Console, text: str, style: str = "") -> None:
    """Prints a sentence: on a terminal broken between words, elsewhere in one line.

    Args:
        console: Where to.
        text: Without line breaks.
        style: As rich has it.
    """
    from rich.text import Text

    console.print(Text(text, style=style), soft_wrap=not console.is_terminal)
