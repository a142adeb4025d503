"""The metric of held-out pairs with scores: do the cosines rise with the scores?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from torch import Tensor

from lightning_embed.batch import ANCHOR, POSITIVE, TokenBatch
from lightning_embed.evaluation.metrics.held_out import HeldOutMetric
from lightning_embed.evaluation.metrics.quantize import Precision, quantize
from lightning_embed.evaluation.metrics.ranking import check_vectors
from lightning_embed.heads.quantize import truncate


class PairSimilarity(HeldOutMetric):
    """Spearman's correlation of the cosine of anchor and positive with the pair's score."""

    columns, main = ("anchors", "positives", "scores"), "spearman"

    def add(self, vectors: Mapping[str, Tensor], batch: TokenBatch) -> None:
        """Adds a batch of scored pairs."""
        self.update(vectors[ANCHOR], vectors[POSITIVE], batch.score[POSITIVE][:, None])

    def score(self, rows: Sequence[Tensor], dim: int, precision: Precision) -> dict[str, float]:
        """`spearman`, -1 to 1; 0 where all scores or all cosines are equal. `binary_rescore` scores as `binary`."""
        from scipy.stats import spearmanr

        anchors, positives, scores = rows
        check_vectors(anchors, "text")
        check_vectors(positives, "text")
        stored = "binary" if precision == "binary_rescore" else precision
        one, other = quantize(truncate(anchors, dim), truncate(positives, dim), stored)
        cosines, given = (one * other).sum(dim=-1).cpu(), scores[:, 0].cpu()
        if len(given) < 2 or (cosines == cosines[0]).all() or (given == given[0]).all():
            return {self.main: 0.0}
        found = float(spearmanr(cosines.numpy(), given.numpy()).statistic)
        return {self.main: found if math.isfinite(found) else 0.0}
