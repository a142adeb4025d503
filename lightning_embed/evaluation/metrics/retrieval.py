"""The validation metric: each anchor must find its own positive among the positives of all ranks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from lightning_embed.distributed.collectives import gather
from lightning_embed.errors import UserError
from lightning_embed.evaluation.metrics.quantize import truncate
from lightning_embed.evaluation.metrics.ranking import METRICS, distinct, parse_metric, retrieval_scores

__all__ = ["METRICS", "PairRetrieval", "retrieval_scores"]


def _gather_rows(rows: Tensor, group: Any = None) -> list[Tensor]:
    """All ranks' rows, for torchmetrics' `dist_sync_fn`.

    torchmetrics substitutes a flat float tensor for a rank without rows, and its own gather then meets tensors of different
    shape and type. Here such a rank first takes the shape and type of its peers': (0, D) float32, or (0,) int64.
    """
    width = rows.shape[1] if rows.ndim == 2 else 0
    widest = torch.tensor([width if len(rows) else -1], device=rows.device)
    dist.all_reduce(widest, op=dist.ReduceOp.MAX, group=group)
    if len(rows) == 0 and widest >= 0:
        rows = rows.new_empty(0, int(widest)) if widest > 0 else rows.new_empty(0, dtype=torch.int64)
    return [gather(rows.contiguous()).rows]


class PairRetrieval(Metric):
    """Retrieval scores of anchors against all distinct positives, by cosine; every anchor's own positive is relevant.

    Collects the vectors of an epoch in float32 (4 · D bytes each) and joins them over ranks in `compute`; ranks may hold
    different numbers of rows, none included. Where two rows share a positive's key it is one document. Ties score as
    `ranking` says.

    Args:
        metrics: Names such as `ndcg@10`, `mrr@10`, `recall@1`; any cutoff of 1 or more.

    Raises:
        UserError: A metric is unknown; in `compute`, if there are no rows or some vectors hold NaN or infinity.
    """

    full_state_update = False
    is_differentiable = False
    higher_is_better = True

    anchors: list[Tensor]
    positives: list[Tensor]
    keys: list[Tensor]

    def __init__(self, metrics: Sequence[str] = METRICS) -> None:
        super().__init__(dist_sync_fn=_gather_rows)
        for name in metrics:
            parse_metric(name)
        self.metrics = tuple(metrics)
        for state in ("anchors", "positives", "keys"):
            self.add_state(state, default=[], dist_reduce_fx="cat")

    def update(self, anchors: Tensor, positives: Tensor, keys: Tensor) -> None:
        """Adds a batch.

        Args:
            anchors: (B, D) vectors, in any float type and of any length.
            positives: (B, D) vectors.
            keys: (B,) int64 `text_key` of each positive.
        """
        self.anchors.append(anchors.detach().float())
        self.positives.append(positives.detach().float())
        self.keys.append(keys.to(anchors.device))

    def compute(self) -> dict[str, float]:
        """Metric -> score, 0 to 1, the same on every rank."""
        return retrieval_scores(*self._joined(), metrics=self.metrics)

    def vectors(self) -> tuple[Tensor, Tensor, Tensor]:
        """All ranks' normalised queries (Q, D), distinct documents (M, D) and the relevant row (Q,) of each query.

        What `robustness_grid` takes. A collective call: every rank must make it.
        """
        with self.sync_context(dist_sync_fn=self.dist_sync_fn):
            return self._joined()

    def _joined(self) -> tuple[Tensor, Tensor, Tensor]:
        if len(self.anchors) == 0:
            raise UserError("no validation rows to score: expected at least one, got 0; check the validation data")
        queries, documents = (dim_zero_cat(vectors) for vectors in (self.anchors, self.positives))
        documents, relevant = distinct(documents, dim_zero_cat(self.keys))
        return truncate(queries, queries.shape[-1]), truncate(documents, documents.shape[-1]), relevant
