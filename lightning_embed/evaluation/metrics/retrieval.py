"""The metric of held-out pairs and of judged corpora: each query must find its relevant documents, one or several, among all documents.

With r_d the rank of document d for a query whose relevant documents have the grades g_d > 0, and g⁽¹⁾ ≥ g⁽²⁾ … the same grades sorted,

    ndcg@k = Σ_{r_d ≤ k} g_d / log2(1 + r_d)  /  Σ_{i ≤ k} g⁽ⁱ⁾ / log2(1 + i)
    recall@k = share of the relevant documents with r_d ≤ k        mrr@k = 1 / least r_d, 0 where r_d > k

as trec_eval and mteb define them. Tied documents count as in `ranking`, by the mean over their orders (in mrr@k, each relevant document's).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lightning_embed.batch import ANCHOR, POSITIVE, TokenBatch
from lightning_embed.evaluation.metrics.held_out import HeldOutMetric
from lightning_embed.evaluation.metrics.quantize import Precision, quantize, similarity_of
from lightning_embed.evaluation.metrics.ranking import (
    METRICS,
    better_and_tied,
    check_vectors,
    distinct,
    mean_gains,
    parse_metric,
)
from lightning_embed.heads.quantize import truncate


class Retrieval(HeldOutMetric):
    """Retrieval scores of queries against all distinct documents, by cosine.

    A row is a pair, a judgement with its grade, or a document that is relevant to no query. Rows whose anchors are the same text are one
    query with several relevant documents, and documents of the same text are one. Ranks may hold different numbers of rows, none included.

    Args:
        metrics: Names such as `ndcg@10`, `mrr@10`, `recall@1`; any cutoff of 1 or more. The first stands for the source.

    Raises:
        UserError: A metric is unknown; in `compute`, if there are no rows or some vectors hold NaN or infinity.
    """

    columns = ("queries", "asked", "relevant", "grades", "documents", "keys")
    takes_documents = True

    def __init__(self, metrics: Sequence[str] = METRICS) -> None:
        super().__init__()
        self.parsed, self.main = {name: parse_metric(name) for name in metrics}, metrics[0]

    def add(self, vectors: Mapping[str, Tensor], batch: TokenBatch) -> None:
        """Adds a batch of pairs, judged or not, or of documents alone."""
        documents = vectors[POSITIVE]
        keys = batch.keys[POSITIVE].to(documents.device)
        if ANCHOR not in vectors:
            self.update(documents[:0], keys[:0], keys[:0], documents[:0, :1], documents, keys)
            return
        asked = batch.keys[ANCHOR].to(documents.device)
        grades = torch.ones_like(documents[:, 0]) if batch.grade is None else batch.grade.to(documents.device)
        self.update(vectors[ANCHOR], asked, keys, grades[:, None], documents, keys)

    def score(self, rows: Sequence[Tensor], dim: int, precision: Precision) -> dict[str, float]:
        """Metric -> score, 0 to 1."""
        queries, asked, relevant, grades, given, keys = rows
        documents, _ = distinct(given, keys)
        check_vectors(queries, "query")
        check_vectors(documents, "document")  # before bits hide what is not finite
        own = torch.searchsorted(torch.unique(keys), relevant)
        query = torch.unique(asked, return_inverse=True)[1]
        kept, _ = distinct(torch.arange(len(own), device=own.device), query * len(documents) + own)
        depth = max(cutoff for _, cutoff in self.parsed.values())
        stored = quantize(truncate(queries[kept], dim), truncate(documents, dim), precision)
        with torch.autocast(queries.device.type, enabled=False):
            better, tied = better_and_tied(*stored, own[kept], similarity_of(precision, depth))
        owner, weights = query[kept].cpu(), grades[kept, 0].double().cpu()
        return {name: _mean(kind, k, owner, weights, better, tied) for name, (kind, k) in self.parsed.items()}


def _mean(kind: str, cutoff: int, query: Tensor, grades: Tensor, better: Tensor, tied: Tensor) -> float:
    """The mean over queries of a metric, from (P,) judgements."""
    gains = mean_gains(better, tied, kind, cutoff)
    zeros = gains.new_zeros(int(query.max()) + 1)
    if kind == "mrr":
        return float(zeros.scatter_reduce(0, query, gains, "amax").mean())
    if kind == "recall":
        return float((zeros.index_add(0, query, gains) / query.bincount()).mean())
    order = torch.argsort(grades, descending=True, stable=True)
    order = order[torch.argsort(query[order], stable=True)]  # by query, and then from the highest grade down
    counts = query.bincount()
    place = torch.arange(len(order)) - torch.repeat_interleave(counts.cumsum(0) - counts, counts)
    best = grades[order] * mean_gains(place, torch.ones_like(place), kind, cutoff)
    ideal = zeros.index_add(0, query[order], best)
    return float((zeros.index_add(0, query, grades * gains) / ideal).mean())
