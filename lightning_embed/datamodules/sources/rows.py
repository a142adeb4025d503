"""Rows: an opened source, memory-mapped, whose rows are taken by number."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_embed.batch import ANCHOR, NEGATIVE, POSITIVE, ROLES
from lightning_embed.datamodules.sources.checks import is_list
from lightning_embed.datamodules.sources.columns import DOCUMENT, LABEL, NEGATIVE_SCORE, POSITIVE_SCORE, SCORE, passage
from lightning_embed.datamodules.sources.content import Content
from lightning_embed.datamodules.sources.labelled import Labelled
from lightning_embed.datamodules.sources.source import Source, Task
from lightning_embed.datamodules.sources.table import Table
from lightning_embed.losses.requirements import Given


class Rows:
    """A source's rows, memory-mapped; `take` reads some of them.

    Args:
        source: What they are of.
        table: The table that they are rows of.
        roles: Role -> columns that play it.
        files: The files that they were read from, for messages.
        kept: Numbers of the table's rows that count; None: all.
        labelled: Draws positives and negatives for rows of text and label.
        content: What was found when it was opened.
    """

    def __init__(
        self,
        source: Source,
        table: Table,
        roles: dict[str, list[str]],
        files: list[str],
        kept: NDArray[np.int64] | None = None,
        labelled: Labelled | None = None,
        content: Content | None = None,
    ) -> None:
        self.source, self.files, self.columns = source, files, roles
        self.content = content or Content()
        self.kept, self.labelled = kept, labelled
        self.table = table

    def __len__(self) -> int:
        return len(self.table) if self.kept is None else len(self.kept)

    @property
    def roles(self) -> set[str]:
        """The text roles that its batches have."""
        return set(self.columns) & set(ROLES) | ({POSITIVE, NEGATIVE} if self.labelled is not None else set())

    @property
    def task(self) -> Task:
        """What its rows teach: the source's task, or else what its columns are for."""
        if self.source.task is not None:
            return self.source.task
        if self.labelled is not None:
            return "classification"
        return "text-matching" if SCORE in self.columns and not self._scores_negatives else "retrieval"

    @property
    def _scores_negatives(self) -> bool:
        return SCORE in self.columns and is_list(self.table.schema.field(self.columns[SCORE][0]).type)

    @property
    def given(self) -> Given:
        """What its batches carry: the roles, and which of them scores, labels and document ids are there for."""
        roles = frozenset(self.roles)
        if self.labelled is not None:
            roles -= frozenset() if self.labelled.negatives else {NEGATIVE}
            columns = {LABEL: roles}
        else:
            columns = {
                LABEL: roles & {ANCHOR, POSITIVE},
                SCORE: roles & {POSITIVE},
                DOCUMENT: roles & {POSITIVE} or roles,
            }
            if self._scores_negatives:
                columns[SCORE] = roles - {ANCHOR}  # of a positive, and then of its negatives
            columns = {name: there for name, there in columns.items() if name in self.columns}
            if POSITIVE_SCORE in self.columns:
                columns[SCORE] = roles - {ANCHOR} if NEGATIVE_SCORE in self.columns else roles & {POSITIVE}
        columns |= {"keys": roles, "negative_counts": roles & {NEGATIVE}}
        found = self.content
        return Given(
            self.source.title,
            roles,
            columns,
            rows=len(self),
            unlike=found.unlike,
            without_negatives=found.without_negatives if NEGATIVE in roles else 0,
            same=found.same if self.labelled is None else frozenset(),
            teachers=self.source.teachers,
        )

    def numbers(self, rows: Sequence[int]) -> list[int]:
        """The table's numbers of some rows, which is what messages name them by.

        Args:
            rows: Row numbers from 0, counting only rows that are kept.
        """
        return list(rows) if self.kept is None else self.kept[np.asarray(rows)].tolist()

    def take(self, rows: Sequence[int]) -> dict[str, list[Any]]:
        """Role -> values of some rows; `negative` holds a list of texts per row.

        Args:
            rows: Row numbers from 0.

        Raises:
            UserError: If a file has shrunk since it was opened.
        """
        got = self.table.take(self.numbers(rows), [column for columns in self.columns.values() for column in columns])
        taken: dict[str, list[Any]] = {}
        for role, columns in self.columns.items():
            if role == NEGATIVE:
                cells = zip(*(got[column] for column in columns), strict=True)
                taken[role] = [_negatives(row) for row in cells]
            elif role not in ROLES:
                taken[role] = got[columns[0]]
            else:
                taken[role] = [
                    [passage(v) for v in value] if isinstance(value, list) else passage(value)
                    for value in got[columns[0]]
                ]
        return taken


def as_list(cell: Any) -> list[Any]:
    """What a cell holds: the items of a list, a value alone, or nothing.

    Args:
        cell: A value, a list of values, or None.
    """
    return cell if isinstance(cell, list) else [] if cell is None else [cell]


def _negatives(cells: Sequence[Any]) -> list[str]:
    """The texts of a row's negative columns, each a text or a list; blank ones are left out."""
    texts = (passage(item) for cell in cells for item in as_list(cell) if item)
    return [text for text in texts if text.strip()]
