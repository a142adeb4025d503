"""Which documents of a batch must not count as negatives of an anchor, although they are not its positive."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_embed.batch import EmbeddingBatch
from lightning_embed.distributed.collectives import Gathered
from lightning_embed.losses.base import unit
from lightning_embed.losses.slices import row_slices

MISSING = torch.iinfo(torch.int64).min
"""An id that matches nothing."""


@dataclass(frozen=True)
class FalseNegatives:
    """Tells, for rows of queries, which of M documents must not count as negatives; the (B, M) mask is made in slices, never whole."""

    same: Sequence[tuple[Tensor, Tensor]] = ()
    """Pairs of (B,) and (M,) int64 ids: a document is masked where one of its ids equals the query's of the same pair."""
    teacher: tuple[Tensor, Tensor, Tensor] | None = None
    """(B, E) unit vectors of the queries, (M, E) of the documents, and (B,) the cosine above which a document is masked."""

    def mask(self, rows: slice) -> Tensor | bool:
        """(rows, M) bool, true where a document must not count as a negative of the query; False without rules.

        Args:
            rows: Which queries.
        """
        masked: Tensor | bool = False
        for mine, theirs in self.same:
            ids = mine[rows, None]
            masked = (ids == theirs) & (ids != MISSING) | masked
        if self.teacher is not None:
            queries, documents, limit = self.teacher
            masked = (queries[rows] @ documents.T > limit[rows, None]) | masked
        return masked


@dataclass(frozen=True)
class Contrast:
    """Which rows of a batch look for which: each query for its partner among M documents, that is all rows of several roles."""

    batch: EmbeddingBatch
    query: str
    """Role of this rank's B queries."""
    pool: tuple[str, ...]
    """Roles of the documents, end to end; the partners are the rows of the first."""
    shared: bool = True
    """Whether other ranks' rows are among the documents."""

    def column(self, column: str, role: str) -> Gathered:
        """The rows of a role that are among the documents; `MISSING` ids where the batch has none."""
        if role not in getattr(self.batch, column):
            rows = self.column("student", role).rows
            return Gathered(torch.full((len(rows),), MISSING, device=rows.device), 0)
        return self.batch.gather(column, role) if self.shared else Gathered(getattr(self.batch, column)[role], 0)

    def queries(self, column: str) -> Tensor:
        """(B, ...) what the batch knows of the queries."""
        return getattr(self.batch, column)[self.query]

    def partners(self, column: str) -> Tensor:
        """(B, ...) of each query's partner."""
        return getattr(self.batch, column)[self.pool[0]]

    def documents(self, column: str) -> Tensor:
        """(M, ...) of all documents."""
        return torch.cat([self.column(column, role).rows for role in self.pool])

    def owners(self, column: str) -> Tensor:
        """(M,) ids of the query that each document is the partner of; `MISSING` for the rest of the pool."""
        owners, documents = self.column(column, self.query).rows, self.documents("student")
        return torch.cat([owners, owners.new_full((len(documents) - len(owners),), MISSING)])

    @property
    def targets(self) -> Tensor:
        """(B,) index among the documents of each query's partner."""
        partners, offset = self.column("student", self.pool[0])
        return offset + torch.arange(len(self.queries("student")), device=partners.device)


def same_text(contrast: Contrast) -> list[tuple[Tensor, Tensor]]:
    """Ids that mask, for each query, documents of its own or its partner's text, and partners of a query of its text."""
    if not contrast.batch.keys:
        return []
    mine, partner, text = contrast.queries("keys"), contrast.partners("keys"), contrast.documents("keys")
    return [(partner, text), (mine, text), (mine, contrast.owners("keys"))]


def same_label(contrast: Contrast) -> list[tuple[Tensor, Tensor]]:
    """Ids that mask, for each query, documents of its label."""
    if contrast.query not in contrast.batch.label:
        return []
    return [(contrast.queries("label"), contrast.documents("label"))]


def same_document(contrast: Contrast) -> list[tuple[Tensor, Tensor]]:
    """Ids that mask, for each query, texts of its partner's document, or else partners of texts of its own document."""
    if contrast.pool[0] in contrast.batch.document:
        return [(contrast.partners("document"), contrast.documents("document"))]
    if contrast.query in contrast.batch.document:
        return [(contrast.queries("document"), contrast.owners("document"))]
    return []


def count_negatives(contrast: Contrast, ignore: FalseNegatives) -> Tensor:
    """(B,) how many documents each query is contrasted with: all but its partner and those that are masked.

    Args:
        contrast: Queries and documents.
        ignore: The masks.
    """
    targets, documents = contrast.targets, len(contrast.documents("student"))
    counts = torch.full_like(targets, documents - 1)
    for rows in row_slices(len(targets), documents):
        masked = ignore.mask(rows)
        if isinstance(masked, Tensor):
            counts[rows] -= masked.scatter(1, targets[rows, None], False).sum(dim=1)
    return counts


def too_similar(contrast: Contrast, margin: float | None, maximum: float | None) -> tuple[Tensor, Tensor, Tensor]:
    """What `FalseNegatives.teacher` needs: vectors and min(φ(q, p⁺) − margin, maximum), by the teacher's cosines φ.

    Args:
        contrast: Queries and documents.
        margin: How much less like the query than its partner a negative must be; None: no such rule.
        maximum: The most that a negative's cosine may be; None: no such rule.
    """
    queries, documents = unit(contrast.queries("teacher")).detach(), unit(contrast.documents("teacher")).detach()
    limit = (queries * documents[contrast.targets]).sum(dim=-1)
    limit = torch.full_like(limit, torch.inf) if margin is None else limit - margin
    return queries, documents, limit if maximum is None else limit.clamp(max=maximum)
