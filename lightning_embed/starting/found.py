"""What is in a user's files: rows of which kind, under which columns, how long, how often repeated."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from lightning_embed.batch import ANCHOR, NEGATIVE, POSITIVE, ROLES
from lightning_embed.datamodules.sources.bad_rows import BadRows
from lightning_embed.datamodules.sources.columns import (
    DOCUMENT,
    LABEL,
    NEGATIVE_SCORE,
    POSITIVE_SCORE,
    SCORE,
    UnknownRoles,
    by_name,
)
from lightning_embed.datamodules.sources.formats import is_beir
from lightning_embed.datamodules.sources.opening import open_source
from lightning_embed.datamodules.sources.rows import Rows
from lightning_embed.datamodules.sources.source import Source
from lightning_embed.doctor.facts import Repeats
from lightning_embed.doctor.texts import scan, source_facts
from lightning_embed.errors import UserError
from lightning_embed.tokenizer import TextTokenizer

TEXTS, PAIRS, NEGATIVES = "texts alone", "pairs", "pairs with negatives"
SCORED, SCORED_NEGATIVES, LABELLED = "scored pairs", "pairs with scored negatives", "texts with labels"
ORDER = (*ROLES, SCORE, POSITIVE_SCORE, NEGATIVE_SCORE, LABEL, DOCUMENT)
"""In which roles are named."""
BAD_SHARE = 0.01
"""Share of a source's rows that may be unusable: the data module's default."""


@dataclass(frozen=True)
class Found:
    """One source of the job, opened."""

    given: Mapping[str, Any]
    """Its settings, as they go into the file."""
    rows: Rows
    kind: str
    """One of the names above."""
    beir: bool
    """Whether it is a folder in BEIR's layout."""
    bad: int
    """Rows that cannot be used."""
    repeats: Repeats

    @property
    def columns(self) -> dict[str, str]:
        """Role -> column that plays it."""
        found: dict[str, str] = {}
        for role, columns in sorted(self.rows.columns.items(), key=lambda one: ORDER.index(one[0])):
            found |= {f"{role}_{n}" if len(columns) > 1 else role: column for n, column in enumerate(columns, 1)}
        return found


def look(given: Mapping[str, Any]) -> Found:
    """Opens a source and says what its rows are.

    Args:
        given: Its settings.

    Raises:
        UserError: It cannot be read, or no column is known to hold its texts.
    """
    source, bad = Source(**given), BadRows("skip", BAD_SHARE)
    try:
        rows = open_source(source, bad_rows=bad, texts_alone=True)
    except UnknownRoles as error:
        raise UserError(f"{error}; here: --columns '{error.columns}'") from None
    named = dict(given)
    found = Found(named, rows, kind_of(rows), is_beir(source), len(bad.found), scan(rows)[0])
    if source.columns is None and not {ANCHOR, POSITIVE} & set(by_name(rows.table.columns)):
        named["columns"] = found.columns  # they were taken by their order, which the file had better say
    return replace(found, given=named)


def kind_of(rows: Rows) -> str:
    """What an opened source's rows are.

    Args:
        rows: The source.
    """
    scored = rows.given.columns.get(SCORE, frozenset())
    if rows.labelled is not None:
        return LABELLED
    if POSITIVE not in rows.roles:
        return TEXTS
    if NEGATIVE in scored:
        return SCORED_NEGATIVES
    return SCORED if scored else NEGATIVES if NEGATIVE in rows.roles else PAIRS


def most_tokens(found: Found, tokenizer: TextTokenizer) -> int:
    """The 95th percentile of its texts' lengths in tokens, prompts included, of the role whose texts are the longest.

    Args:
        found: The source.
        tokenizer: Whose tokens.
    """
    facts = source_facts(found.rows, "train", tokenizer, found.repeats, found.bad)
    return max(role.most_of_them for role in facts.roles)
