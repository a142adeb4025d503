"""Retrieval scores of plain vectors: how high does each query's own document rank among all documents?

Each query has exactly one relevant document. With g documents scored above it, its rank is r = g + 1 and, for a cutoff k,

    ndcg@k = 1 / log2(1 + r)        mrr@k = 1 / r        recall@k = 1        each 0 where r > k

Ties: a query whose document shares its score with t − 1 others gets the mean over all t! orders of them, i.e. the mean of the
metric over the ranks g + 1 ... g + t. So equal vectors score what chance would, on every device and in every order of rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from lightning_embed.errors import UserError

METRICS = ("ndcg@10", "mrr@10", "recall@1", "recall@10")

Similarity = Callable[[Tensor, Tensor], Tensor]
"""Maps (q, D) queries and (M, D) documents to (q, M) scores, higher for more alike."""

_TIE = 1e-6
"""Scores within this fraction of |query| · |document| are tied: a float32 dot product is no more exact than that."""

_CHUNK = 2**24
"""Entries of the similarity matrix that exist at once (64 MiB in float32)."""

_GAINS: dict[str, Callable[[Tensor], Tensor]] = {
    "ndcg": lambda rank: 1 / torch.log2(1 + rank),
    "mrr": lambda rank: 1 / rank,
    "recall": torch.ones_like,
}


def dot_product(queries: Tensor, documents: Tensor) -> Tensor:
    """Scores every query against every document: cosines, for normalised vectors.

    Args:
        queries: (q, D).
        documents: (M, D).
    """
    return queries @ documents.T


def parse_metric(name: str) -> tuple[str, int]:
    """Splits a metric's name into kind and cutoff: `ndcg@10` into ("ndcg", 10).

    Args:
        name: `ndcg@k`, `mrr@k` or `recall@k`, k at least 1.

    Raises:
        UserError: The name is none of these.
    """
    kind, _, cutoff = name.partition("@")
    if kind not in _GAINS or not cutoff.isdecimal() or int(cutoff) < 1:
        raise UserError(
            f"unknown retrieval metric {name!r}: give ndcg@k, mrr@k or recall@k with k >= 1, such as ndcg@10"
        )
    return kind, int(cutoff)


def check_vectors(vectors: Tensor, what: str) -> None:
    """Refuses vectors that no score can be had of.

    Args:
        vectors: (n, D).
        what: What they are, for the message ("query", "document").

    Raises:
        UserError: There are none, or some hold NaN or infinity.
    """
    if len(vectors) == 0:
        raise UserError(f"no {what} vectors to score: expected at least one row, got 0; check the validation data")
    bad = int((~torch.isfinite(vectors)).any(dim=-1).sum())
    if bad:
        raise UserError(
            f"{bad:,} of {len(vectors):,} {what} vectors hold NaN or infinity, so no score can be given; "
            "the training has diverged or the precision is too low"
        )


def distinct(vectors: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
    """Keeps the first vector of each key.

    Args:
        vectors: (n, D).
        keys: (n,) int64, equal for equal texts.

    Returns:
        (M, D) one vector a key, and (n,) the row of it that each given vector has become.
    """
    unique, index = torch.unique(keys, return_inverse=True)
    rows = torch.arange(len(keys), device=keys.device)
    first = torch.full_like(unique, len(keys)).scatter_reduce_(0, index, rows, "amin")
    return vectors[first], index


def better_and_tied(
    queries: Tensor, documents: Tensor, relevant: Tensor, similarity: Similarity
) -> tuple[Tensor, Tensor]:
    """(Q,) documents above each query's own, and (Q,) documents tied with it, itself included.

    Args:
        queries: (Q, D) float32.
        documents: (M, D) float32.
        relevant: (Q,) int64 row of each query's own document.
        similarity: How a chunk of queries is scored; the matrix is never held as a whole.
    """
    slack = _TIE * queries.norm(dim=-1, keepdim=True) * documents.norm(dim=-1).max()
    better, tied = [], []
    rows = max(1, _CHUNK // len(documents))
    for part, own_index, margin in zip(queries.split(rows), relevant.split(rows), slack.split(rows), strict=True):
        scores = similarity(part, documents)  # (q, M)
        own = scores.gather(1, own_index[:, None])
        better.append((scores > own + margin).sum(dim=1))
        tied.append((scores >= own - margin).sum(dim=1) - better[-1])
    return torch.cat(better).cpu(), torch.cat(tied).cpu()


@torch.no_grad()
def retrieval_scores(
    queries: Tensor,
    documents: Tensor,
    relevant: Tensor,
    metrics: Sequence[str] = METRICS,
    similarity: Similarity = dot_product,
) -> dict[str, float]:
    """The mean over queries of each metric, ties counted as the module's head says; the vectors are taken as they are.

    Args:
        queries: (Q, D), Q at least 1, in any float type; computed in float32.
        documents: (M, D), M at least 1, each counted on its own: see `distinct`.
        relevant: (Q,) int64 row of each query's own document.
        metrics: Names as `parse_metric` takes them.
        similarity: How a chunk of queries is scored; the matrix is never held as a whole.

    Returns:
        Metric -> score, 0 to 1.

    Raises:
        UserError: A metric is unknown, there are no vectors, or some hold NaN or infinity.
    """
    parsed = {name: parse_metric(name) for name in metrics}
    if len(relevant) != len(queries):
        raise UserError(f"expected one relevant document for each of {len(queries):,} queries, got {len(relevant):,}")
    check_vectors(queries, "query")
    check_vectors(documents, "document")
    with torch.autocast(queries.device.type, enabled=False):
        better, tied = better_and_tied(queries.float(), documents.float(), relevant, similarity)
    return {name: float(mean_gains(better, tied, *parts).mean()) for name, parts in parsed.items()}


def mean_gains(better: Tensor, tied: Tensor, kind: str, cutoff: int) -> Tensor:
    """(n,) the mean gain of documents at their ranks, over all orders of those that are tied.

    Args:
        better: (n,) documents above each.
        tied: (n,) documents tied with each, itself included.
        kind: `ndcg`, `mrr` or `recall`.
        cutoff: k.
    """
    gains = _GAINS[kind](torch.arange(1, cutoff + 1, dtype=torch.float64))
    total = torch.cat([gains.new_zeros(1), gains.cumsum(0)])  # total[r] = the gain of ranks 1 ... r
    return (total[(better + tied).clamp(max=cutoff)] - total[better.clamp(max=cutoff)]) / tied
