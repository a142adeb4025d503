"""Whether two models differ on a task by more than the choice of its items: a paired bootstrap."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lightning_embed.evaluation.tasks.items import Items, TaskItems

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Comparison:
    """One task's difference between two models, in points (100 · score)."""

    task: str
    """Its name."""
    baseline: str
    """The model that is compared with."""
    model: str
    """The model whose gain is positive."""
    difference: float
    """Model minus baseline."""
    low: float
    """Lower end of the 95 % interval."""
    high: float
    """Upper end."""

    @property
    def verdict(self) -> str:
        """`better`, `worse`, or `noise` where the interval holds 0."""
        if self.low > 0:
            return "better"
        return "worse" if self.high < 0 else "noise"


def compare(
    task: str,
    baseline: tuple[str, TaskItems],
    model: tuple[str, TaskItems],
    resamples: int = 2000,
    seed: int = 0,
) -> Comparison:
    """Resamples a task's items with replacement, the same for both models, and takes the percentiles of the difference.

    Queries (retrieval), texts (classification), pairs (STS) or experiments (clustering) are resampled; a task of several splits or
    languages is the mean of them, each resampled on its own.

    Args:
        task: Its name.
        baseline: The name and items of the one.
        model: The name and items of the other, in the same order.
        resamples: How many.
        seed: Of the resampling.
    """
    differences, distributions = [], []
    for part, items in baseline[1].items():
        difference, distribution = _resampled(items, model[1][part], resamples, seed)
        differences.append(difference)
        distributions.append(distribution)
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.nanpercentile(np.mean(distributions, axis=0), [tail, 100 - tail])
    return Comparison(
        task, baseline[0], model[0], 100 * float(np.mean(differences)), 100 * float(low), 100 * float(high)
    )


def _resampled(one: Items, other: Items, resamples: int, seed: int) -> tuple[float, np.ndarray]:
    """The difference of a part's scores, and its values under resampling."""
    from scipy.stats import bootstrap, spearmanr

    options = {"n_resamples": resamples, "method": "percentile", "rng": np.random.default_rng(seed)}
    if one.kind == "mean":
        gains = np.array(other.values) - np.array(one.values)
        if len(gains) < 2:
            return float(gains.mean()), np.full(resamples, float(gains.mean()))
        found = bootstrap((gains,), np.mean, vectorized=True, batch=100, **options)
    else:

        def difference(gold: np.ndarray, first: np.ndarray, second: np.ndarray) -> float:
            return float(spearmanr(gold, second)[0] - spearmanr(gold, first)[0])

        data = (np.array(one.gold), np.array(one.values), np.array(other.values))
        found = bootstrap(data, difference, paired=True, vectorized=False, **options)
    return other.score() - one.score(), found.bootstrap_distribution
