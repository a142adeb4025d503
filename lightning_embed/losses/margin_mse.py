"""MarginMSE: a negative is as much worse than the positive as the teacher finds it."""

from torch import Tensor

from lightning_embed.batch import EmbeddingBatch
from lightning_embed.distributed.collectives import global_mean
from lightning_embed.losses.base import in_float32
from lightning_embed.losses.candidates import CandidateLoss


@in_float32
def margin_mse(positive: Tensor, negative: Tensor, gold_positive: Tensor, gold_negative: Tensor) -> Tensor:
    """Squared error of each margin: [(s_pos − s_neg) − (g_pos − g_neg)]².

    Args:
        positive: (M,) the student's score of each negative's positive.
        negative: (M,) the student's score of each negative.
        gold_positive: (M,) the gold score of each negative's positive.
        gold_negative: (M,) the gold score of each negative.

    Returns:
        (M,) squared errors.
    """
    return ((positive - negative) - (gold_positive - gold_negative)).square()


class MarginMSE(CandidateLoss):
    """Gives each negative the margin to its positive that a teacher (vectors, or given scores) gives it.

        L = mean over all negatives n of all anchors q of [ (s(q,p⁺) − s(q,n)) − (g(q,p⁺) − g(q,n)) ]²

    Hofstätter et al. 2020, *Improving Efficient Neural Ranking Models with Cross-Architecture Knowledge Distillation* (arXiv 2010.02666).
    Scores of a cross-encoder on a scale of logits want `similarity: dot`; a cosine's margin cannot exceed 2.

    Args:
        targets: Where the gold scores come from: the `teacher`'s cosines, or the batch's given `score`s.
        similarity: How the student scores: `cosine` or `dot` (of the vectors before they are normalised).
    """

    def forward(self, batch: EmbeddingBatch) -> Tensor:
        """Mean over the negatives of the global batch."""
        positive, negative, gold_positive, gold_negative = self.scores(batch)
        owner = batch.negative_owner
        errors = margin_mse(positive[owner], negative, gold_positive[owner], gold_negative)
        return global_mean(errors.sum() + 0 * positive.sum(), len(errors))  # the graph stays whole without negatives
