"""The metric: duplicates, batches, two processes with ragged and empty shares."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from lightning_embed.errors import UserError
from lightning_embed.evaluation.metrics.ranking import retrieval_scores
from lightning_embed.evaluation.metrics.retrieval import Retrieval
from tests.forks import run_ranks

ROWS = 9
SHARES = {
    "ragged": [slice(0, 7), slice(7, 9)],
    "empty": [slice(0, 9), slice(9, 9)],
    "first empty": [slice(0, 0), slice(0, 9)],
}


def pairs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    anchors = torch.randn(ROWS, 8, generator=generator)
    positives = anchors + 1.5 * torch.randn(ROWS, 8, generator=generator)
    keys = torch.arange(ROWS) - 2**62  # large: a float would not hold them
    positives[8], keys[8] = positives[1], keys[1]
    return anchors, positives, keys


def add(metric: Retrieval, anchors: torch.Tensor, positives: torch.Tensor, keys: torch.Tensor, first: int = 0) -> None:
    """Adds pairs whose anchors are all different; `first` is the number of the first."""
    asked = torch.arange(first, first + len(keys))
    metric.update(anchors, asked, keys, torch.ones(len(keys), 1), positives, keys)


def filled(share: slice = slice(0, ROWS), batch: int = 3) -> Retrieval:
    metric = Retrieval()
    for rows in torch.arange(ROWS)[share].split(batch):
        if len(rows):
            with torch.inference_mode():  # as a validation step is run
                add(metric, *(column[rows] for column in pairs()), first=int(rows[0]))
    return metric


def test_the_metric_is_cosine_retrieval_among_the_distinct_positives() -> None:
    anchors, positives, _ = pairs()
    unit = torch.nn.functional.normalize
    expected = retrieval_scores(unit(anchors), unit(positives[:8]), torch.tensor([0, 1, 2, 3, 4, 5, 6, 7, 1]))
    assert filled().compute() == pytest.approx(expected)
    assert 0.2 < expected["recall@1"] < 1  # else this tests nothing


def test_the_length_of_a_vector_changes_nothing() -> None:
    anchors, positives, keys = pairs()
    metric = Retrieval()
    add(metric, anchors * 1000, positives * torch.linspace(0.01, 100, ROWS)[:, None], keys)
    expected = filled().compute()
    assert metric.compute() == pytest.approx(expected)


def test_equal_positives_are_one_document() -> None:
    metric = Retrieval()
    add(metric, torch.eye(2), torch.ones(2, 2), torch.tensor([5, 5]))
    assert metric.compute()["recall@1"] == 1


def test_an_anchor_of_several_rows_is_one_query_and_each_of_its_positives_is_relevant() -> None:
    metric = Retrieval(metrics=["ndcg@10", "recall@1", "mrr@10"])
    anchors, positives = torch.eye(3)[[0, 0, 1]], torch.tensor([[1.0, 0.1, 0.0], [1.0, 0.2, 0.0], [0.0, 0.0, 1.0]])
    metric.update(anchors, torch.tensor([7, 7, 8]), torch.arange(3), torch.ones(3, 1), positives, torch.arange(3))
    found = metric.compute()  # the first query has both at the top; the second's own comes third of three, by cosine
    assert found == pytest.approx({"ndcg@10": (1 + 0.5) / 2, "recall@1": 0.5 / 2, "mrr@10": (1 + 1 / 3) / 2}, abs=1e-6)


def test_all_equal_vectors_of_distinct_texts_score_like_chance() -> None:
    metric = Retrieval(metrics=["recall@1"])
    add(metric, torch.ones(20, 4), torch.ones(20, 4), torch.arange(20))
    assert metric.compute() == pytest.approx({"recall@1": 1 / 20})


def test_bf16_vectors_are_kept_in_float32() -> None:
    metric = Retrieval()
    add(metric, *(x.bfloat16() if x.is_floating_point() else x for x in pairs()))
    assert metric.queries[0].dtype == metric.documents[0].dtype == torch.float32  # type: ignore[union-attr, index]
    assert metric.compute()["recall@10"] == 1


def test_reset_forgets() -> None:
    metric = filled()
    metric.reset()
    add(metric, torch.eye(1), torch.eye(1), torch.tensor([1]))
    assert metric.compute() == {"ndcg@10": 1, "mrr@10": 1, "recall@1": 1, "recall@10": 1}


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_no_rows_are_an_error() -> None:
    with pytest.raises(UserError, match="no validation rows"):
        Retrieval().compute()


def test_nan_anchors_are_counted_in_the_error() -> None:
    anchors, positives, keys = pairs()
    anchors[4, 2] = float("nan")
    metric = Retrieval()
    add(metric, anchors, positives, keys)
    with pytest.raises(UserError, match="1 of 9 query vectors hold NaN"):
        metric.compute()


def test_an_unknown_metric_is_an_error_at_once() -> None:
    with pytest.raises(UserError, match="ndgc@10"):
        Retrieval(metrics=["ndgc@10"])


def worker(rank: int, store: str, out: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    got = {}
    for name, shares in SHARES.items():
        metric = filled(shares[rank])
        before = len(metric.keys)
        got[name] = {**metric.compute(), "in the grid": metric.grid([8], ["float32"])[0].scores["ndcg@10"]}
        assert len(metric.keys) == before  # a rank keeps its own rows after the sync
    nothing = Retrieval()
    try:
        nothing.compute()
    except UserError:
        got["nothing"] = {"raised": 1}
    torch.save(got, f"{out}{rank}")
    dist.destroy_process_group()


def test_two_ranks_with_ragged_and_empty_shares_give_the_scores_of_one(tmp_path: Path) -> None:
    run_ranks(worker, (str(tmp_path / "store"), str(tmp_path / "out")), 2)
    expected = filled().compute()
    expected["in the grid"] = expected["ndcg@10"]
    for rank in range(2):
        got = torch.load(tmp_path / f"out{rank}", weights_only=True)
        assert got.pop("nothing") == {"raised": 1}
        for name, scores in got.items():
            assert scores == pytest.approx(expected), f"{name} shares, rank {rank}"
