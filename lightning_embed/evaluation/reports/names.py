"""How metrics and scores are written for people: names as papers have them, scores times 100 (logs and JSON keep 0 to 1)."""

import re

from lightning_embed.utils.formatting import one_line

_NAMES = {
    "score": "mean score",
    "ndcg": "nDCG",
    "mrr": "MRR",
    "map": "MAP",
    "recall": "Recall",
    "precision": "Precision",
    "accuracy": "Accuracy",
    "hit_rate": "Hit rate",
    "f1": "F1",
    "ap": "AP",
    "max_ap": "AP",
    "v_measure": "V-measure",
    "spearman": "Spearman",
    "pearson": "Pearson",
    "teacher_cosine": "cosine with the teacher",
    "cosine_spearman": "Spearman",
    "cosine_pearson": "Pearson",
}
"""Metric, as Lightning logs it or mteb calls it -> its name. All of them are 0 to 1, or -1 to 1."""


def metric_title(metric: str) -> str:
    """How a metric is written for people: `val/ndcg@10` and `ndcg_at_10` as nDCG@10, `val/sts/spearman` as "sts Spearman".

    Args:
        metric: Its name or column.
    """
    kind, cutoff = _parts(metric)
    source = metric.removeprefix("val/").rpartition("/")[0]
    of_teacher, _, name = kind.partition("teacher_cosine_")
    title = f"cosine with teacher {name}" if name and not of_teacher else _NAMES.get(kind, kind)
    return f"{source} {title}".lstrip() + (f"@{cutoff}" if cutoff else "")


def points(score: float) -> str:
    """A score of 0 to 1 as tables have it: 0.7797 as `78.0`.

    Args:
        score: 0 to 1.
    """
    return f"{100 * score:.1f}"


def score_text(metric: str, value: float) -> str:
    """A metric and its value for people: `nDCG@10 78.0`; a task of a grid by its name; one that is no known score as it is.

    Args:
        metric: Its name or column.
        value: As it was logged.
    """
    if metric.startswith("grid/"):  # grid/TASK/DIM/PRECISION
        return f"{one_line(metric.split('/')[1], 16)} {points(value)}"
    known = _parts(metric)[0] in _NAMES
    return f"{metric_title(metric)} {points(value)}" if known else f"{metric} {value:.4g}"


def _parts(metric: str) -> tuple[str, str]:
    """A metric's kind and cutoff: `val/docs/ndcg@10` as ndcg and 10."""
    found = re.fullmatch(r"(.*?)(?:@|_at_)(\w+)", name := metric.rpartition("/")[2])
    return (found[1], found[2]) if found else (name, "")
