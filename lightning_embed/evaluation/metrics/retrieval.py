"""The metric of held-out pairs: each anchor must find its own positive among the positives of all ranks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from lightning_embed.batch import ANCHOR, POSITIVE, TokenBatch
from lightning_embed.evaluation.metrics.held_out import HeldOutMetric
from lightning_embed.evaluation.metrics.quantize import Precision, quantize, similarity_of, truncate
from lightning_embed.evaluation.metrics.ranking import METRICS, check_vectors, distinct, parse_metric, retrieval_scores

__all__ = ["METRICS", "PairRetrieval", "retrieval_scores"]


class PairRetrieval(HeldOutMetric):
    """Retrieval scores of anchors against all distinct positives, by cosine; every anchor's own positive is relevant.

    Ranks may hold different numbers of rows, none included. Where two rows share a positive's key it is one document. Ties score as
    `ranking` says.

    Args:
        metrics: Names such as `ndcg@10`, `mrr@10`, `recall@1`; any cutoff of 1 or more. The first stands for the source.

    Raises:
        UserError: A metric is unknown; in `compute`, if there are no rows or some vectors hold NaN or infinity.
    """

    columns = ("anchors", "positives", "keys")

    def __init__(self, metrics: Sequence[str] = METRICS) -> None:
        super().__init__()
        depths = [parse_metric(name)[1] for name in metrics]
        self.metrics, self.main, self.depth = tuple(metrics), metrics[0], max(depths)

    def add(self, vectors: Mapping[str, Tensor], batch: TokenBatch) -> None:
        """Adds a batch of pairs."""
        self.update(vectors[ANCHOR], vectors[POSITIVE], batch.keys[POSITIVE].to(vectors[ANCHOR].device))

    def score(self, rows: Sequence[Tensor], dim: int, precision: Precision) -> dict[str, float]:
        """Metric -> score, 0 to 1."""
        queries, positives, keys = rows
        documents, relevant = distinct(positives, keys)
        check_vectors(queries, "query")
        check_vectors(documents, "document")  # before bits hide what is not finite
        stored = quantize(truncate(queries, dim), truncate(documents, dim), precision)
        return retrieval_scores(*stored, relevant, self.metrics, similarity_of(precision, self.depth))
