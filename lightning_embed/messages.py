"""Turns a parser's complaint into one line that says what was expected."""

import re
from difflib import get_close_matches


def one_line(message: str, error: Exception | None = None) -> str:
    """The complaint in one line; an unknown loss is answered with the known ones, a misspelt argument with the nearest.

    Args:
        message: What the parser says.
        error: What it stems from, if anything; a `UserError` beneath it speaks for itself.
    """
    from lightning_embed.errors import UserError

    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, UserError):
            return str(cause)
        cause = cause.__cause__ or cause.__context__
    text = " ".join(message.split())
    unknown = re.search(r"losses.*?(?:class_path|class)\W+(\w[\w.]*)", text) or re.search(
        r"LossTerm.*?'loss': '(\w+)'", text
    )
    name = unknown[1] if unknown else ""
    known = _losses()
    if name and name not in known and "losses" in text and "." not in name:
        near = get_close_matches(name, known, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]}? " if near else ""
        return f"losses: there is no loss '{name}'; {hint}known are {', '.join(known)}, or the dotted path of a class of yours"
    return text[:600]


def _losses() -> list[str]:
    import lightning_embed.losses as losses

    return sorted(
        name
        for name in losses.__all__
        if isinstance(getattr(losses, name), type) and hasattr(getattr(losses, name), "check")
    )
