"""Metrics of held-out texts with labels, quick enough for a validation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lightning_embed.batch import ANCHOR, TokenBatch
from lightning_embed.evaluation.metrics.held_out import HeldOutMetric
from lightning_embed.evaluation.metrics.quantize import Precision, quantize
from lightning_embed.evaluation.metrics.ranking import check_vectors
from lightning_embed.heads.quantize import truncate

_CHUNK = 1024
"""Texts that are compared with all others at once."""


class LabelMetric(HeldOutMetric):
    """A metric of texts and their labels."""

    roles, columns = (ANCHOR,), ("vectors", "labels")

    def add(self, vectors: Mapping[str, Tensor], batch: TokenBatch) -> None:
        """Adds a batch of texts with labels."""
        self.update(vectors[ANCHOR], batch.label[ANCHOR])


class NearestLabel(LabelMetric):
    """The share of texts whose nearest other text, by cosine, has the same label: a quick stand-in for a trained classifier."""

    main = "accuracy"

    def score(self, rows: Sequence[Tensor], dim: int, precision: Precision) -> dict[str, float]:
        """`accuracy`, 0 to 1; 0 for a text alone. `binary_rescore` scores as `binary`."""
        queries, documents, labels = _stored(rows, dim, precision)
        right = 0
        for start in range(0, len(queries), _CHUNK):
            alike = queries[start : start + _CHUNK] @ documents.T
            alike[torch.arange(len(alike)), torch.arange(start, start + len(alike))] = -torch.inf
            own = labels[start : start + len(alike)]
            right += int((labels[alike.argmax(dim=1)] == own).sum()) if len(queries) > 1 else 0
        return {self.main: right / len(queries)}


class LabelClusters(LabelMetric):
    """V-measure of mini-batch k-means with as many clusters as labels, as mteb scores clustering, once and not ten times."""

    main = "v_measure"

    def score(self, rows: Sequence[Tensor], dim: int, precision: Precision) -> dict[str, float]:
        """`v_measure`, 0 to 1, the same in every run. `binary_rescore` scores as `binary`."""
        from sklearn.cluster import MiniBatchKMeans
        from sklearn.metrics import v_measure_score

        _, vectors, labels = _stored(rows, dim, precision)
        clusters = MiniBatchKMeans(len(labels.unique()), batch_size=512, n_init=1, random_state=0)
        found = clusters.fit_predict(vectors.cpu().numpy())
        return {self.main: float(v_measure_score(labels.cpu().numpy(), found))}


def _stored(rows: Sequence[Tensor], dim: int, precision: Precision) -> tuple[Tensor, Tensor, Tensor]:
    """Texts as they search, as they are stored, and their labels."""
    vectors, labels = rows
    check_vectors(vectors, "text")
    short = truncate(vectors, dim)
    return *quantize(short, short, "binary" if precision == "binary_rescore" else precision), labels
