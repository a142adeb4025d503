"""Which column of the data plays which role."""

from collections.abc import Iterable
from typing import Any

from lightning_embed.batch import ANCHOR, NEGATIVE, POSITIVE
from lightning_embed.datamodules.sources.source import Source
from lightning_embed.errors import UserError
from lightning_embed.utils.notes import note

SCORE, LABEL, DOCUMENT = "score", "label", "document"
ALIASES = {
    "query": ANCHOR,
    "text": ANCHOR,
    "sentence1": ANCHOR,
    "pos": POSITIVE,
    "sentence2": POSITIVE,
    "positive_passages": POSITIVE,
    "neg": NEGATIVE,
    "negative_passages": NEGATIVE,
}
"""Other names by which a role's column is known (FlagEmbedding's, Tevatron's, sentence-transformers', and a lone text)."""


def find_roles(source: Source, found: list[str], texts: Iterable[str]) -> dict[str, list[str]]:
    """Role -> the columns that play it; only negatives may have several.

    Args:
        source: Says the columns, or leaves them to be known by name, or else by order (anchor, positive, negatives).
        found: The columns of the data.
        texts: Those that hold text.

    Raises:
        UserError: If `source.columns` names a role or a column that there is not.
    """
    if source.columns is None:
        roles = _by_name(found)
        return roles if ANCHOR in roles or POSITIVE in roles else _by_order(source, list(texts)) | roles
    for role, column in source.columns.items():
        if column not in found:
            raise UserError(
                f"source '{source.title}': `columns` maps {role} to '{column}', which is not among the columns found: "
                f"{', '.join(found)}"
            )
        if _role(role) is None and role != DOCUMENT:
            raise UserError(
                f"source '{source.title}': `columns` has the role '{role}'; expected anchor, positive, negative, negative_1 …, "
                "score, label or document"
            )
    roles = {}
    for role, column in source.columns.items():
        roles.setdefault(_role(role) or DOCUMENT, []).append(column)
    return roles


def _by_name(found: list[str]) -> dict[str, list[str]]:
    roles: dict[str, list[str]] = {}
    for column in found:
        known = _role(column)
        alias = ALIASES.get(column)
        if known is None and alias is not None and not any(_role(other) == alias for other in found):
            known = alias
        if known is not None:
            roles.setdefault(known, []).append(column)
    return {role: columns if role == NEGATIVE else columns[:1] for role, columns in roles.items()}


def _by_order(source: Source, texts: list[str]) -> dict[str, list[str]]:
    roles = {role: [column] for role, column in zip((ANCHOR, POSITIVE), texts, strict=False)}
    if texts[2:]:
        roles[NEGATIVE] = texts[2:]
    if roles:
        said = ", ".join(f"{role}: {' '.join(columns)}" for role, columns in roles.items())
        note(f"source '{source.title}': no column is named as a role; taken by order: {{{said}}}")
    return roles


def role_of(source: Source, column: str) -> str | None:
    """The role that a column plays by the source's `columns` or, without them, by its name.

    Args:
        source: The source.
        column: A column's name.
    """
    if source.columns is None:
        return _role(column) or ALIASES.get(column)
    return next((_role(role) or role for role, given in source.columns.items() if given == column), None)


def may_play(source: Source, column: str, found: Iterable[str]) -> bool:
    """Whether a column may play a role; any may where roles are taken by order.

    Args:
        source: The source.
        column: A column's name.
        found: The columns of the data.
    """
    by_order = source.columns is None and not any(role_of(source, one) in (ANCHOR, POSITIVE) for one in found)
    return by_order or role_of(source, column) is not None


def _role(name: str) -> str | None:
    """The role of that name; negative_1, negative_2 … are negatives."""
    head, _, number = name.partition("_")
    if head == NEGATIVE and (number.isdigit() or name == NEGATIVE):
        return NEGATIVE
    return name if name in (ANCHOR, POSITIVE, SCORE, LABEL) else None


def passage(value: Any) -> str:
    """A text, or a passage of title and text, as one text.

    Args:
        value: A string, or a mapping with `text` and perhaps `title`.
    """
    if isinstance(value, dict):
        return f"{value.get('title') or ''} {value.get('text') or ''}".strip()
    return value
