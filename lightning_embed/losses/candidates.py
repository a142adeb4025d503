"""A query's candidates (its positive and its own negatives) and how the student and the gold score them."""

from typing import Literal

import torch
from torch import Tensor

from lightning_embed.batch import ANCHOR, NEGATIVE, POSITIVE, EmbeddingBatch
from lightning_embed.losses.base import EmbeddingLoss, in_float32, unit

Similarity = Literal["cosine", "dot"]
Targets = Literal["teacher", "score"]


@in_float32
def candidate_scores(
    anchor: Tensor, positive: Tensor, negative: Tensor, owner: Tensor, similarity: Similarity = "cosine"
) -> tuple[Tensor, Tensor]:
    """Similarity of each anchor with its positive, and of each negative with its anchor.

    Args:
        anchor: (B, D) vectors of any length.
        positive: (B, D).
        negative: (M, D) the negatives of all anchors.
        owner: (M,) the anchor of each negative.
        similarity: `cosine` or `dot`.

    Returns:
        (B,) and (M,).
    """
    if similarity == "cosine":
        anchor, positive, negative = unit(anchor), unit(positive), unit(negative)
    return (anchor * positive).sum(dim=-1), (anchor[owner] * negative).sum(dim=-1)


class CandidateLoss(EmbeddingLoss):
    """A loss over each query's own candidates; no text of another row takes part, so nothing is exchanged but counts.

    Args:
        targets: Where the gold scores come from: the `teacher`'s cosines, or the batch's given `score`s.
        similarity: How the student scores: `cosine` or `dot` (of the vectors before they are normalised).
    """

    def __init__(self, targets: Targets = "teacher", similarity: Similarity = "cosine") -> None:
        super().__init__()
        self.targets, self.similarity = targets, similarity
        self.requires = frozenset({ANCHOR, POSITIVE, NEGATIVE, targets})

    def scores(self, batch: EmbeddingBatch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The student's and the gold scores of a batch.

        Returns:
            (B,) the student's of the positives, (M,) of the negatives; (B,) the gold ones of the positives, (M,) of the negatives.
        """
        owner, vectors, gold = batch.negative_owner, batch.student, batch.teacher
        scores = candidate_scores(vectors[ANCHOR], vectors[POSITIVE], vectors[NEGATIVE], owner, self.similarity)
        if self.targets == "score":
            return (*scores, batch.score[POSITIVE].float(), batch.score[NEGATIVE].float())
        with torch.no_grad():
            return (*scores, *candidate_scores(gold[ANCHOR], gold[POSITIVE], gold[NEGATIVE], owner))
