"""Numbers and texts as the doctor writes them."""

from collections.abc import Sequence

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
        text: The text.
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
