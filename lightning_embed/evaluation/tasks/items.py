"""What a task's score is the mean or the correlation of: single queries, pairs, texts. Two models are compared on these."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from lightning_embed.compat.mteb import experiment_scores, folds, pair_scores, read_predictions

if TYPE_CHECKING:
    from mteb.abstasks import AbsTask
    from mteb.results import TaskResult

TOP = 10
"""Documents a query that two models are compared by."""
_TREC = {"ndcg": "ndcg_cut", "map": "map_cut", "recall": "recall", "precision": "P", "hit_rate": "success"}


@dataclass(frozen=True)
class Items:
    """One split of a task; the order of items is that of the data, the same for every model."""

    kind: Literal["mean", "spearman"]
    """Whether the score is the mean of the values or their rank correlation with `gold`."""
    values: list[float]
    """Score of each query, share of experiments that got a text right, V-measure of each experiment, or cosine of each pair."""
    gold: list[float] = field(default_factory=list)
    """Human scores, for `spearman`."""
    found: list[list[str]] = field(default_factory=list)
    """Of retrieval, the ids of the best `TOP` documents of each query, the best first."""

    def score(self) -> float:
        """The task's score, 0 to 1."""
        if self.kind == "mean":
            return float(np.mean(self.values))
        from scipy.stats import spearmanr

        return float(spearmanr(self.gold, self.values)[0])


TaskItems = dict[str, Items]
"""`SPLIT/SUBSET` -> its items."""


def collect_items(task: AbsTask, result: TaskResult, predictions: Path) -> TaskItems | None:
    """The items behind a result; None where mteb's score is not made of items that are known here.

    Args:
        task: Evaluated, its data loaded.
        result: What mteb gave.
        predictions: The folder where mteb saved its predictions.
    """
    predicted = read_predictions(task, predictions)
    if predicted is None:
        return None
    collected: TaskItems = {}
    for split, subsets in result.scores.items():
        for scores in subsets:
            subset = scores["hf_subset"]
            items = _items(task, scores, predicted[subset][split], split, subset)
            if items is None or not math.isclose(items.score(), scores["main_score"], abs_tol=1e-4):
                return None
            collected[f"{split}/{subset}"] = items
    return collected


def _items(task: AbsTask, scores: Mapping[str, Any], predicted: Any, split: str, subset: str) -> Items | None:
    from mteb.abstasks import AbsTaskClassification, AbsTaskClustering, AbsTaskRetrieval, AbsTaskSTS

    main = task.metadata.main_score
    dataset: Any = task.dataset
    data = dataset.get(subset, dataset)
    if isinstance(task, AbsTaskRetrieval):
        return _queries(task, main, predicted, data[split]["relevant_docs"])
    if isinstance(task, AbsTaskSTS):
        values = pair_scores(predicted, main)
        return None if values is None else Items("spearman", values, [float(score) for score in data[split]["score"]])
    if isinstance(task, AbsTaskClustering) and main == "v_measure":
        return Items("mean", experiment_scores(scores))
    if isinstance(task, AbsTaskClassification) and main == "accuracy":
        gold = np.array(data[split][task.label_column_name])
        if task.is_cross_validation:
            return _folds(task, predicted, gold)
        return Items("mean", (np.array(predicted) == gold).mean(axis=0).tolist())
    return None


def _queries(task: Any, main: str, predicted: Any, relevant: Any) -> Items | None:
    """Each query's own score, by the same trec_eval that mteb calls."""
    kind, _, cutoff = main.rpartition("_at_")
    if kind not in _TREC or task.skip_first_result:
        return None
    import pytrec_eval

    if task.ignore_identical_ids:
        predicted = {q: {d: score for d, score in found.items() if d != q} for q, found in predicted.items()}
    measure = _TREC[kind]
    scores = pytrec_eval.RelevanceEvaluator(relevant, {f"{measure}.{cutoff}"}).evaluate(predicted)
    order = sorted(scores)
    best = [_best(predicted[query]) for query in order]
    return Items("mean", [scores[query][f"{measure}_{cutoff}"] for query in order], found=best)


def _best(scores: Mapping[str, float]) -> list[str]:
    return sorted(scores, key=lambda document: (-scores[document], document))[:TOP]


def shared(one: TaskItems, other: TaskItems) -> float | None:
    """How many of a model's best `TOP` documents another model finds among its own, the mean over queries; None where not known.

    Args:
        one: The model's items of a task.
        other: The other's.
    """
    both = [(a, b) for part in one for a, b in zip(one[part].found, other[part].found, strict=False)]
    return float(np.mean([len(set(a) & set(b)) for a, b in both])) if both else None


def _folds(task: Any, predicted: Any, gold: np.ndarray) -> Items:
    """The share of folds, 0 or 1, that got each text right."""
    right = np.zeros(len(gold))
    for fold, tested in zip(predicted, folds(task, len(gold)), strict=True):
        right[tested] = np.array(fold) == gold[tested]
    return Items("mean", right.tolist())
