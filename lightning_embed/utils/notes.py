"""What is said to the user: notes, and a parser's complaint in one line that says what was expected."""

import os
import re
import sys
from difflib import get_close_matches

from lightning_embed.errors import UserError

_NOTED: set[str] = set()


def note(text: str) -> None:
    """Tells something worth knowing on standard error, once, and on the first process of a machine only.

    Args:
        text: One line.
    """
    if text not in _NOTED and os.environ.get("LOCAL_RANK", "0") == "0":
        _NOTED.add(text)
        print(f"note: {text}", file=sys.stderr, flush=True)


def one_line(message: str, error: Exception | None = None) -> str:
    """The complaint in one line; an unknown loss is answered with the known ones, a misspelt argument with the nearest.

    Args:
        message: What the parser says.
        error: What it stems from, if anything; a `UserError` beneath it speaks for itself.
    """
    mistake = user_error(error)
    if mistake is not None:
        return str(mistake)
    text = " ".join(message.split())
    unknown = re.search(r'key "loss".*?Expected a dot import path string: (\w+)$', text)
    name = unknown[1] if unknown else ""
    known = _losses()
    if name and name not in known:
        near = get_close_matches(name, known, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]}? " if near else ""
        return f"losses: there is no loss '{name}'; {hint}known are {', '.join(known)}, or the dotted path of a class of yours"
    return text[:600]


def user_error(error: BaseException | None) -> UserError | None:
    """The user's mistake that an exception stems from, if it stems from one.

    Args:
        error: What was raised.
    """
    while error is not None and not isinstance(error, UserError):
        error = error.__cause__ or error.__context__
    return error


def _losses() -> list[str]:
    import lightning_embed.losses as losses

    return sorted(
        name
        for name in losses.__all__
        if isinstance(getattr(losses, name), type) and hasattr(getattr(losses, name), "check")
    )
