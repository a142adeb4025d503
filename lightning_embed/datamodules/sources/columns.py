"""Which column of the data plays which role."""

import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any

from lightning_embed.batch import ANCHOR, NEGATIVE, POSITIVE
from lightning_embed.datamodules.sources.source import Source
from lightning_embed.errors import UserError
from lightning_embed.utils.notes import note

POSITIVE_SCORE, NEGATIVE_SCORE = "positive_score", "negative_score"
"""Scores of a row's positives, and of its negatives, in columns of their own (FlagEmbedding's pos_scores and neg_scores)."""
IsText = Callable[[str], bool]
SCORE, LABEL, DOCUMENT = "score", "label", "document"
GRADE = "grade"
"""How relevant a held-out positive is to its anchor, as judged. Only BEIR folders have it."""
TOOLS = {
    "query": ANCHOR,
    "sentence1": ANCHOR,
    "pos": POSITIVE,
    "sentence2": POSITIVE,
    "positive_passages": POSITIVE,
    "neg": NEGATIVE,
    "negative_passages": NEGATIVE,
    "pos_scores": POSITIVE_SCORE,
    "neg_scores": NEGATIVE_SCORE,
}
"""What FlagEmbedding, Tevatron and sentence-transformers call a role's column."""
FIELDS = dict.fromkeys(("text", "question", "premise", "text1"), ANCHOR) | dict.fromkeys(
    ("answer", "response", "passage", "context", "document", "hypothesis", "text2"), POSITIVE
)
"""What data sets call their texts. They count only where the role has no column by a name above."""
NO_TEXT = re.compile(
    r"(unnamed: \d+|__index_level_\d+__|level_\d+|_c\d+|index|idx|uuid|guid|(.*[_-])?id)?", re.IGNORECASE
)
"""Names of columns that are an index or an id; an empty name is pandas' index in a CSV."""
ROLE_LIKE = re.compile(r"anchor|quer|quest|pos|neg|score|label|class|simil|relev|dupl|rating|distract", re.IGNORECASE)
"""Names of columns that probably are meant for a role."""
TEXT_LIKE = re.compile(r"\S+\s+\S+\s+\S+|[.?!,;:。？！…]$")
"""What is rather a text than a column's name: of three words or more, or with a mark at its end."""
LONG_NAME = 60
"""Characters of a column's name, above which it is a row of data in a file without names."""


class UnknownRoles(UserError):
    """No column is known to play a needed role.

    Args:
        message: One line.
        columns: A `columns` setting that would name them, such as `{anchor: question, positive: answer}`.
    """

    def __init__(self, message: str, columns: str) -> None:
        super().__init__(message)
        self.columns = columns


def find_roles(
    source: Source, found: Sequence[str], needed: Collection[str], is_text: IsText, texts_alone: bool = False
) -> dict[str, list[str]]:
    """Role -> the columns that play it; only negatives may have several.

    Args:
        source: Its `columns` say it; else the names of the columns do; else their order (anchor, positive), where there is no choice.
        found: The columns of the data.
        needed: Roles that it must have; a label does for a positive.
        is_text: Whether a column holds texts, and not all of them numbers.
        texts_alone: Whether a lone anchor will do where it is clear that there is no positive: `columns` gives none, or no other column
            holds texts.

    Raises:
        UserError: `source.columns` names a role or a column that does not exist, or it is open which column plays a needed role.
    """
    if source.columns is not None:
        roles = _as_told(source, source.columns, found)
    else:
        roles = {role: _clear(role, columns, is_text) for role, columns in by_name(found).items()}
        if not {ANCHOR, POSITIVE} & {role for role, columns in roles.items() if columns}:
            roles |= _by_order(source, found, roles, (ANCHOR,) if texts_alone else needed, is_text)
    taken = {column for columns in roles.values() for column in columns}
    other_texts = any(_may_be_text(column) and is_text(column) for column in found if column not in taken)
    clear = len(roles.get(ANCHOR, ())) == 1 and (source.columns is not None or not other_texts)
    if texts_alone and POSITIVE not in roles and clear:
        needed = [role for role in needed if role != POSITIVE]
    missing = [
        r for r in needed if len(roles.get(r, ())) != 1 and not (r == POSITIVE and r not in roles and LABEL in roles)
    ]
    if missing:
        lone = texts_alone and missing == [POSITIVE] and source.columns is None
        setting = _setting(found, roles, needed, is_text)
        raise UnknownRoles(
            f"source '{source.title}': no column is known to be its {' or '.join(missing)}; {_columns_found(found)}; "
            f"say which is which, e.g. columns: {setting}"
            + (f", or columns: {{anchor: {_quoted(roles[ANCHOR][0])}}} for its texts alone" if lone else ""),
            setting,
        )
    return _with_scores_that_fit({r: columns for r, columns in roles.items() if r == NEGATIVE or len(columns) == 1})


def _with_scores_that_fit(roles: dict[str, list[str]]) -> dict[str, list[str]]:
    """Without scores of texts that there are not, and of two kinds of scores only the rows' own."""
    extra = {POSITIVE_SCORE, NEGATIVE_SCORE} & set(roles)
    if SCORE in roles or POSITIVE_SCORE not in roles or POSITIVE not in roles:
        dropped = extra
    else:
        dropped = set() if NEGATIVE in roles else extra - {POSITIVE_SCORE}
    return {role: columns for role, columns in roles.items() if role not in dropped}


def _as_told(source: Source, columns: Mapping[str, str], found: Sequence[str]) -> dict[str, list[str]]:
    roles: dict[str, list[str]] = {}
    for role, column in columns.items():
        if column not in found:
            raise UserError(
                f"source '{source.title}': `columns` maps {role} to '{column}', which is not among the columns found: "
                f"{', '.join(map(_shown, found))}"
            )
        if _role(role) is None and role != DOCUMENT:
            raise UserError(
                f"source '{source.title}': `columns` has the role '{role}'; expected anchor, positive, negative, negative_1 …, "
                "score, positive_score, negative_score, label or document"
            )
        roles.setdefault(_role(role) or DOCUMENT, []).append(column)
    return roles


def by_name(found: Iterable[str]) -> dict[str, list[str]]:
    """Role -> the columns whose names say so, of which there are several where they leave it open.

    A role's own name is the surest; then come the names of `TOOLS`, then those of `FIELDS`. Case does not matter.

    Args:
        found: The columns of the data.
    """
    roles: dict[str, list[str]] = {}
    for names in (_role, TOOLS.get, FIELDS.get):
        told: dict[str, list[str]] = {}
        for column in found:
            role = names(column) or names(column.strip().lower())
            if role is not None and role not in roles:
                told.setdefault(role, []).append(column)
        roles |= told
    return roles


def _clear(role: str, columns: list[str], is_text: IsText) -> list[str]:
    """The one column of a role where it is clear which; all negatives."""
    if role == NEGATIVE or len(columns) == 1:
        return columns
    if role in (SCORE, LABEL) or role in columns:  # they differ in case alone
        return [role if role in columns else columns[0]]
    return [column for column in columns if is_text(column)] or columns


def _by_order(
    source: Source, found: Sequence[str], roles: Mapping[str, list[str]], needed: Collection[str], is_text: IsText
) -> dict[str, list[str]]:
    """Anchor and positive by their order, where the other columns are one or two texts and nothing else, or a lone anchor is wanted."""
    taken = {column for columns in roles.values() for column in columns}
    others = [column for column in found if column not in taken]
    texts = [column for column in others if _may_be_text(column) and is_text(column)]
    if not 1 <= len(texts) <= 2 or (texts != others and not len(texts) == len(needed) == 1):
        return {}
    guessed = dict(zip((ANCHOR, POSITIVE), texts, strict=False))
    shown = ", ".join(f"{role}: {_quoted(column)}" for role, column in guessed.items())
    if _is_csv(source) and (all(" " in text for text in texts) or any(map(TEXT_LIKE.search, texts))):
        cells = " and ".join(f"'{text}'" for text in texts)
        raise UserError(
            f"source '{source.title}': the first row must hold the columns' names, and {cells} look like texts: put a row of names above "
            f"it, such as {','.join(guessed)}; if these are the names, say columns: {{{shown}}}"
        )
    note(f"source '{source.title}': no column is named as a role; taken by order: columns: {{{shown}}}")
    return {role: [column] for role, column in guessed.items()}


def _is_csv(source: Source) -> bool:
    """Whether a source's columns are named by a row of its file, which may be missing."""
    endings = {suffix for path in source.paths for suffix in Path(path).suffixes}
    return source.format in ("csv", "tsv") or bool(endings & {".csv", ".tsv"})


def _may_be_text(name: str) -> bool:
    """Whether a column of that name may hold texts: it is no index and no id."""
    return not NO_TEXT.fullmatch(name.strip()) and not _is_data(name)


def _is_data(name: str) -> bool:
    """Whether a name is rather a cell of a file whose first row has no names: a number, or a long text."""
    try:
        float(name)
    except ValueError:
        return len(name) > LONG_NAME
    return True


def _columns_found(found: Sequence[str]) -> str:
    """The columns that there are."""
    head = " (is the first row one of data? Then put a row of names above it)" if any(map(_is_data, found)) else ""
    return f"the columns found are {', '.join(map(_shown, found))}{head}"


def _setting(found: Sequence[str], roles: Mapping[str, list[str]], needed: Collection[str], is_text: IsText) -> str:
    """The setting that says which column is which."""
    clear = {role: columns for role, columns in roles.items() if role == NEGATIVE or len(columns) == 1}
    taken = {column for columns in clear.values() for column in columns}
    texts = iter([c for c in found if c not in taken and _may_be_text(c) and is_text(c)])
    chosen = {role: next(texts, "COLUMN") for role in needed if role not in clear}
    for role, columns in clear.items():
        chosen |= {f"{role}_{n}" if len(columns) > 1 else role: column for n, column in enumerate(columns, 1)}
    order = [role for role in dict.fromkeys((ANCHOR, POSITIVE, *chosen)) if role in chosen]
    return "{" + ", ".join(f"{role}: {_quoted(chosen[role])}" for role in order) + "}"


def _quoted(column: str) -> str:
    """A column's name as YAML has it."""
    return column if re.fullmatch(r"[^\W\d][\w .()/-]*", column) else json.dumps(column, ensure_ascii=False)


def _shown(column: str) -> str:
    return column[:LONG_NAME] if column.strip() else f"'{column}' (without a name)"


def unused_columns(source: Source, found: Iterable[str], roles: Mapping[str, list[str]]) -> list[str]:
    """The columns that play no role and that no filter reads.

    Args:
        source: Its settings, which may name columns.
        found: The columns of the data.
        roles: Role -> columns that play it.
    """
    taken = {column for columns in roles.values() for column in columns}
    filters = tuple(condition.strip() for condition in source.filter or [])
    return [c for c in found if c not in taken and not any(condition.startswith(c) for condition in filters)]


def note_unused(source: Source, unused: Iterable[str]) -> None:
    """Says which columns play no role although their names suggest one.

    Args:
        source: Its settings, which may name columns.
        unused: Its columns without a role.
    """
    odd = [column for column in unused if ROLE_LIKE.search(column) and not NO_TEXT.fullmatch(column.strip())]
    if odd and source.columns is None:
        note(
            f"source '{source.title}': not used, since no role has such a name: {', '.join(odd[:8])}; `columns` can give a "
            "column a role"
        )


def role_of(source: Source, column: str, found: Iterable[str]) -> str | None:
    """The role that a column plays by the source's `columns` or, without them, by its name.

    Args:
        source: Its settings, which may name columns.
        column: A column's name.
        found: The columns of the data.
    """
    if source.columns is None:
        return next((role for role, columns in by_name(found).items() if column in columns), None)
    return next((_role(role) or role for role, given in source.columns.items() if given == column), None)


def may_play(source: Source, column: str, found: Iterable[str]) -> bool:
    """Whether a column may play a role; any may where roles are taken by order.

    Args:
        source: Its settings, which may name columns.
        column: A column's name.
        found: The columns of the data.
    """
    found = list(found)
    by_order = source.columns is None and not {ANCHOR, POSITIVE} & set(by_name(found))
    return by_order or role_of(source, column, found) is not None


def _role(name: str) -> str | None:
    """The role of that name; negative_1, negative_2 … are negatives."""
    head, _, number = name.partition("_")
    if head == NEGATIVE and (number.isdigit() or name == NEGATIVE):
        return NEGATIVE
    return name if name in (ANCHOR, POSITIVE, SCORE, LABEL, POSITIVE_SCORE, NEGATIVE_SCORE) else None


def number_of(value: Any) -> float | None:
    """A score or label as a number: a finite number, True or False, or a text that says one of these; else None.

    Args:
        value: What a cell holds.
    """
    text = value.strip().lower() if isinstance(value, str) else value
    try:
        number = float({"true": 1, "false": 0}.get(text, text) if isinstance(text, str) else text)
    except (ValueError, TypeError, OverflowError):
        return None
    return number if isfinite(number) else None


def passage(value: Any) -> str:
    """A text, or a passage of title and text, as one text.

    Args:
        value: A string, or a mapping with `text` and perhaps `title`.
    """
    if isinstance(value, dict):
        return f"{value.get('title') or ''} {value.get('text') or ''}".strip()
    return value
