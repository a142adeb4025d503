"""Which documents of a batch are no negatives of an anchor, although they are not its positive."""

from dataclasses import dataclass

import torch
from torch import Tensor

MISSING = 0
"""An id that matches nothing."""


@dataclass(frozen=True)
class FalseNegatives:
    """Tells, for rows of anchors, which of M documents must not count as negatives.

    A document is masked for an anchor if one of its K ids equals the anchor's id in the same place (equal texts, labels, document
    ids), or if the teacher finds it too like the anchor. The (rows, M) mask is made in slices, never whole.
    """

    anchor_ids: Tensor
    """(B, K) int64; `MISSING` matches nothing."""
    document_ids: Tensor
    """(M, K) int64."""
    teacher_anchor: Tensor | None = None
    """(B, E) unit teacher vectors of the anchors."""
    teacher_documents: Tensor | None = None
    """(M, E) unit teacher vectors of the documents."""
    limit: Tensor | None = None
    """(B,) teacher cosine above which a document is taken for a positive."""

    def mask(self, rows: slice) -> Tensor:
        """(rows, M) bool, true where a document is no negative of the anchor.

        Args:
            rows: Which anchors.
        """
        mine = self.anchor_ids[rows]
        masked = torch.zeros(len(mine), len(self.document_ids), dtype=torch.bool, device=mine.device)
        for k in range(mine.shape[1]):
            ids = mine[:, k, None]
            masked |= (ids == self.document_ids[None, :, k]) & (ids != MISSING)
        if self.teacher_anchor is not None and self.teacher_documents is not None and self.limit is not None:
            masked |= self.teacher_anchor[rows] @ self.teacher_documents.T > self.limit[rows, None]
        return masked


def teacher_limit(positive_cosine: Tensor, margin: float | None, maximum: float | None) -> Tensor:
    """The teacher's cosine above which a document is taken for a positive: min(φ(q, p⁺) − margin, maximum).

    Args:
        positive_cosine: (B,) teacher cosine of each anchor and its positive.
        margin: How much less like the anchor than its positive a negative must be; None: no such rule.
        maximum: The most that a negative's cosine may be; None: no such rule.
    """
    limit = torch.full_like(positive_cosine, torch.inf)
    if margin is not None:
        limit = torch.minimum(limit, positive_cosine - margin)
    return limit if maximum is None else limit.clamp(max=maximum)
