"""Held-out sources by their tasks: the numbers by hand, and what a run logs of them."""

import json
from pathlib import Path
from typing import Any

import pandas
import pytest
import torch
from torch import Tensor

from lightning_embed.batch import TokenBatch, Tokens
from lightning_embed.evaluation.metrics.by_source import BySource, metric_for
from lightning_embed.evaluation.metrics.labels import LabelClusters, NearestLabel
from lightning_embed.evaluation.metrics.retrieval import Retrieval
from lightning_embed.evaluation.metrics.similarity import PairSimilarity
from tests.cli.test_fit import config, run
from tests.toys import toy_pairs

Job = dict[str, Any]


def vectors(rows: int = 40, dim: int = 16, seed: int = 0) -> Tensor:
    return torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed))


def test_spearman_is_one_where_cosines_rise_with_scores() -> None:
    angles = torch.linspace(0.1, 3, 8)
    metric = PairSimilarity()
    metric.update(
        torch.tensor([[1.0, 0.0]]).repeat(8, 1), torch.stack([angles.cos(), angles.sin()], 1), -(angles[:, None] ** 3)
    )
    assert metric.compute() == {"spearman": pytest.approx(1.0)}


def test_spearman_by_hand() -> None:
    """Cosines 1, 0.6, 0.8, 0 have the ranks 4, 2, 3, 1 and scores the ranks 4, 3, 1, 2: 1 - 6 · (0 + 1 + 4 + 1) / (4 · 15)."""
    metric = PairSimilarity()
    others = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.8, 0.6], [0.0, 1.0]])
    metric.update(torch.tensor([[2.0, 0.0]]).repeat(4, 1), others, torch.tensor([[0.9], [0.8], [0.1], [0.3]]))
    assert metric.compute() == {"spearman": pytest.approx(0.4)}


@pytest.mark.parametrize("scores", [[1.0, 1.0, 1.0], [0.5]])
def test_scores_that_are_all_equal_correlate_with_nothing(scores: list[float]) -> None:
    metric = PairSimilarity()
    metric.update(vectors(len(scores)), vectors(len(scores), seed=1), torch.tensor(scores)[:, None])
    assert metric.compute() == {"spearman": 0.0}


def test_the_nearest_other_text_tells_the_label() -> None:
    metric = NearestLabel()
    metric.update(torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.2, 1.0]]), torch.tensor([0, 0, 1, 0]))
    assert metric.compute() == {"accuracy": 0.5}  # the last two are each other's nearest, with different labels


def test_separate_clusters_have_v_measure_one() -> None:
    centres = 10 * torch.eye(4, 16)
    labels = torch.arange(40) % 4
    metric = LabelClusters()
    metric.update(centres[labels] + 0.1 * vectors(), labels)
    assert metric.compute() == {"v_measure": pytest.approx(1.0)}


@pytest.mark.parametrize("metric", [PairSimilarity(), NearestLabel(), LabelClusters()])
def test_every_metric_scores_shorter_and_quantised_vectors(metric: Any) -> None:
    columns = {"anchors": vectors(), "positives": vectors() + vectors(seed=1), "vectors": vectors()}
    columns |= {"scores": vectors(40, 1, 2), "labels": torch.arange(40) % 3}
    metric.update(*(columns[name] for name in metric.columns))
    grid = metric.grid([16, 8])
    assert [(row.dim, row.precision) for row in grid[:2]] == [(16, "float32"), (16, "int8")] and len(grid) == 8
    assert grid[0].scores == metric.compute() and grid[2].scores == grid[3].scores  # rescoring is for retrieval


def batch(source: str, task: str, **given: Any) -> TokenBatch:
    tokens = Tokens(torch.zeros(2, 1, dtype=torch.long), torch.ones(2, dtype=torch.long))
    return TokenBatch({"anchor": tokens, "positive": tokens}, source=source, task=task, **given)


def test_the_task_chooses_the_metric_where_the_columns_are_there() -> None:
    labels, scores = {"anchor": torch.tensor([0, 1])}, {"positive": torch.tensor([0.0, 1.0])}
    assert type(metric_for(batch("a", "retrieval", score=scores))) is Retrieval
    assert type(metric_for(batch("a", "text-matching", score=scores))) is PairSimilarity
    assert type(metric_for(batch("a", "text-matching"))) is Retrieval
    assert type(metric_for(batch("a", "classification", label=labels))) is NearestLabel
    assert type(metric_for(batch("a", "clustering", label=labels))) is LabelClusters
    assert type(metric_for(batch("a", "clustering"))) is Retrieval


def test_sources_are_scored_apart_and_then_averaged() -> None:
    found = BySource()
    keys = torch.tensor([1, 2])
    one, other = (
        batch("one", "retrieval", keys={"anchor": keys, "positive": keys}),
        batch("other", "retrieval", keys={"anchor": keys, "positive": keys}),
    )
    good, bad = (
        {"anchor": torch.eye(2), "positive": torch.eye(2)},
        {"anchor": torch.eye(2), "positive": torch.eye(2).flip(0)},
    )
    found.add(one, lambda batch, roles: good)
    found.add(other, lambda batch, roles: bad)
    scores = found.compute()
    assert scores["one/ndcg@10"] == 1 and scores["other/ndcg@10"] == pytest.approx(0.6309, abs=1e-4)
    assert scores["ndcg@10"] == scores["score"] == pytest.approx(0.8155, abs=1e-4) and found.main == "ndcg@10"
    assert found.grid([2])[0].scores["ndcg@10"] == scores["ndcg@10"]


@pytest.fixture
def job(teacher: Path, student: Path, pairs: Path, tmp_path: Path) -> Job:
    """Pairs, scored pairs and labelled texts held out."""
    scored = [row | {"score": i / 32} for i, row in enumerate(toy_pairs(32))]
    labelled = [{"text": row["anchor"], "label": i % 3} for i, row in enumerate(toy_pairs(30))]
    for name, rows in (("scored", scored), ("labelled", labelled)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    job = config(teacher, student, pairs, tmp_path / "run")
    held_out = [{"path": str(pairs)}, *({"path": str(tmp_path / f"{name}.jsonl")} for name in ("scored", "labelled"))]
    job["data"]["init_args"] |= {"validation": held_out, "test": held_out}
    return job


def test_a_run_logs_each_source_by_its_task_and_the_mean(job: Job, tmp_path: Path) -> None:
    run(job, tmp_path, "--checkpoint.monitor", "val/scored/spearman")
    table = pandas.read_csv(tmp_path / "run/csv/version_0/metrics.csv").dropna(subset="val/score")
    mains = ["val/pairs/ndcg@10", "val/scored/spearman", "val/labelled/accuracy"]
    assert table["val/score"].tolist() == pytest.approx(table[mains].mean(axis=1).tolist())
    assert table["val/ndcg@10"].tolist() == table["val/pairs/ndcg@10"].tolist()
    state = torch.load(tmp_path / "run/checkpoints/best.ckpt", weights_only=True)["callbacks"]
    best = next(value for key, value in state.items() if "val/scored/spearman" in key)
    assert float(best["best_model_score"]) == pytest.approx(table["val/scored/spearman"].max())
    report = json.loads((tmp_path / "run/report.json").read_text())
    assert report["metric"] == "score" and "labelled/accuracy" in report["models"][-1]["grid"][0]["scores"]
    assert "% of the teacher's mean score" in (tmp_path / "run/report.md").read_text()


def test_the_default_monitor_knows_every_task(job: Job, tmp_path: Path) -> None:
    job["data"]["init_args"]["validation"] = job["data"]["init_args"]["validation"][1:2]
    run(job, tmp_path, "--report.enabled", "false")
    assert (tmp_path / "run/checkpoints/best.ckpt").exists()


def test_a_metric_of_ones_own_is_logged_and_reported(job: Job, tmp_path: Path) -> None:
    job["model"]["class_path"] = "examples.custom_module.WithPairCosine"
    job["data"]["init_args"] |= {"validation": job["data"]["init_args"]["validation"][0], "test": None}
    run(job, tmp_path, "--report.export", "false")
    table = pandas.read_csv(tmp_path / "run/csv/version_0/metrics.csv").dropna(subset="val/score")
    assert table["val/cosine"].tolist() == table["val/score"].tolist() and "val/ndcg@10" not in table
