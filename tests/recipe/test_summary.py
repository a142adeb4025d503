"""The table of repeats at the end of a chain."""

import pytest

from lightning_embed.evaluation.metrics.grid import GridRow
from lightning_embed.evaluation.reports.task_report import Evaluation, ScoredModel, ScoredTask
from lightning_embed.recipe.scoring import Summary, TaskScores
from lightning_embed.recipe.summary import markdown, repeats_table


def scored(stage: str, repeat_of: str, start: str | None, points: float) -> TaskScores:
    """A stage's score on a task, where its start has 50 points and its teacher 90."""
    known = ({start: 0.5} if start else {}) | {stage: points / 100, "teacher": 0.9}
    models = [ScoredModel(n, n, n, 8, None, None, [GridRow(8, "float32", 32, {"toys": s})]) for n, s in known.items()]
    return TaskScores(stage, repeat_of, Evaluation(models, [ScoredTask("toys", "STS", "cosine_spearman", "0")]))


def test_stages_that_differ_in_seeds_alone_have_their_mean_and_spread() -> None:
    tasks = [
        scored("base", "b", None, 50),
        scored("matching", "m", "base", 60),
        scored("matching-2", "m", "base", 64),
        scored("elsewhere", "other", "base", 10),
    ]
    rows = repeats_table(Summary([], tasks))[1]
    assert rows == [["matching, matching-2", "50.00", "62.00 ± 2.83", "+12.00", "90.00"]]  # √8 = 2.83
    assert "| matching, matching-2 |" in markdown(Summary([], tasks), "report.png")


@pytest.mark.parametrize("others", [0, 1])
def test_no_repeats_no_table(others: int) -> None:
    summary = Summary([], [scored("a", "a", "base", 60), scored("b", "b", "base", 60)][: others + 1])
    assert repeats_table(summary)[1] == [] and "repeats" not in markdown(summary, "report.png")
