"""The scores of all held-out sources: each by its task, and their means."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from lightning_embed.batch import ANCHOR, POSITIVE, TokenBatch
from lightning_embed.evaluation.metrics.grid import GridRow
from lightning_embed.evaluation.metrics.held_out import HeldOutMetric
from lightning_embed.evaluation.metrics.labels import LabelClusters, NearestLabel
from lightning_embed.evaluation.metrics.retrieval import METRICS, Retrieval
from lightning_embed.evaluation.metrics.similarity import PairSimilarity
from lightning_embed.evaluation.metrics.teacher_cosine import Projected, TeacherCosine
from lightning_embed.utils.teacher_names import is_teacher_key

MAINS = (METRICS[0], PairSimilarity.main, NearestLabel.main, LabelClusters.main, TeacherCosine.main)
"""The main scores of the tasks."""
MEAN = "score"
"""The mean of the sources' main scores, whatever their tasks."""
Encode = Callable[[TokenBatch, list[str]], Mapping[str, Tensor]]
"""Maps a batch and roles, `TEACHER` perhaps among them, to role -> (n, D) vectors."""


def metric_for(
    batch: TokenBatch, projection: Projected | Mapping[str, Projected | None] | None = None
) -> HeldOutMetric:
    """The metric of a source by its task: retrieval, Spearman's correlation of scored pairs, or labels;
    of texts alone, their cosine with the teacher's vectors.

    Args:
        batch: One of the source's.
        projection: As for `TeacherCosine`, for texts alone.
    """
    if batch.task == "text-matching" and POSITIVE in batch.score:
        return PairSimilarity()
    if batch.task in ("clustering", "classification") and ANCHOR in batch.label:
        return LabelClusters() if batch.task == "clustering" else NearestLabel()
    if POSITIVE not in batch.student:
        return TeacherCosine(projection)
    return Retrieval()


class BySource:
    """Held-out metrics by source.

    Args:
        choose: Makes the metric of a source from its first batch.
    """

    def __init__(self, choose: Callable[[TokenBatch], HeldOutMetric] = metric_for) -> None:
        self.choose = choose
        self.metrics: dict[str, HeldOutMetric] = {}

    def add(self, batch: TokenBatch, encode: Encode) -> None:
        """Embeds a batch and adds it to the metric of its source, on the batch's device.

        Args:
            batch: All ranks have batches of the same sources in the same order.
            encode: Gives the vectors of some roles of a batch.
        """
        if roles := self.wanted(batch):
            self.take(batch, encode(batch, roles))

    def wanted(self, batch: TokenBatch) -> list[str]:
        """Whose vectors of a batch its source's metric takes, `TEACHER` perhaps among them; empty if it leaves the batch out.

        Args:
            batch: As for `add`.
        """
        if batch.source not in self.metrics:
            self.metrics[batch.source] = self.choose(batch).to(next(iter(batch.student.values())).ids.device)
        metric = self.metrics[batch.source]
        if ANCHOR not in batch.student and not metric.takes_documents:
            return []
        return [role for role in metric.roles if role in batch.student or is_teacher_key(role)]

    def take(self, batch: TokenBatch, vectors: Mapping[str, Tensor]) -> None:
        """Adds a batch that is embedded.

        Args:
            batch: The batch.
            vectors: Role -> (n, D), for each role of `wanted`.
        """
        self.metrics[batch.source].add(vectors, batch)

    @property
    def main(self) -> str:
        """The score that stands for all: that of every source where they have the same, else their mean, `score`."""
        mains = {metric.main for metric in self.metrics.values()}
        return mains.pop() if len(mains) == 1 else MEAN

    def compute(self) -> dict[str, float]:
        """Metric -> mean over the sources that have it, `score`, and `SOURCE/METRIC` of each of several; every rank must call it."""
        return self._joined({source: metric.compute() for source, metric in self.metrics.items()})

    def grid(self, dims: Sequence[int]) -> list[GridRow]:
        """The same scores in every size and precision; every rank must call it.

        Args:
            dims: Sizes, each 1 to D.
        """
        grids = {source: metric.grid(dims) for source, metric in self.metrics.items()}
        rows = []
        for alike in zip(*grids.values(), strict=True):
            scores = self._joined({source: row.scores for source, row in zip(grids, alike, strict=True)})
            if self.main != MEAN:
                del scores[MEAN]  # it is that of `main`
            rows.append(replace(alike[0], scores=scores))
        return rows

    def _joined(self, found: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
        names = dict.fromkeys(name for scores in found.values() for name in scores)
        joined = {name: _mean([scores[name] for scores in found.values() if name in scores]) for name in names}
        if found:
            joined[MEAN] = _mean([found[source][metric.main] for source, metric in self.metrics.items()])
        if len(found) > 1:
            joined |= {f"{source}/{m.main}": found[source][m.main] for source, m in self.metrics.items()}
        return joined

    def reset(self) -> None:
        """Begins again."""
        self.metrics = {}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
