"""Scores against a loop over permutations, numbers worked by hand, torchmetrics, and degenerate input."""

import math
from itertools import permutations

import pytest
import torch
from torch.nn.functional import normalize

from lightning_embed.errors import UserError
from lightning_embed.evaluation.metrics import ranking
from lightning_embed.evaluation.metrics.ranking import distinct, parse_metric, retrieval_scores


def vectors(rows: int, dim: int = 16, seed: int = 0) -> torch.Tensor:
    return normalize(torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed)), dim=-1)


def gain(kind: str, cutoff: int, rank: int) -> float:
    if rank > cutoff:
        return 0.0
    return {"ndcg": 1 / math.log2(1 + rank), "mrr": 1 / rank, "recall": 1.0}[kind]


def test_ranks_one_two_and_eleven_score_as_worked_by_hand() -> None:
    documents = torch.eye(12)
    queries = torch.linspace(1.2, 0.1, 12).repeat(3, 1)  # document 0 is first, document 11 last
    scores = retrieval_scores(queries, documents, torch.tensor([0, 1, 10]))
    assert scores["ndcg@10"] == pytest.approx((1 + 1 / math.log2(3) + 0) / 3)
    assert scores["mrr@10"] == pytest.approx((1 + 1 / 2 + 0) / 3)
    assert scores["recall@1"] == pytest.approx(1 / 3)
    assert scores["recall@10"] == pytest.approx(2 / 3)


@pytest.mark.parametrize("name", ["ndcg@3", "mrr@2", "recall@1", "recall@4"])
def test_ties_score_the_mean_over_all_orders(name: str) -> None:
    row = torch.tensor([0.5, 0.9, 0.5, 0.1, 0.5])  # the relevant document ties with two others, one is above
    kind, cutoff = parse_metric(name)
    ranks = []
    for order in permutations(range(5)):
        ranked = sorted(order, key=lambda d: -float(row[d]))  # sorted is stable: ties stay in this order
        ranks.append(ranked.index(2) + 1)
    expected = sum(gain(kind, cutoff, rank) for rank in ranks) / len(ranks)
    assert retrieval_scores(row[None], torch.eye(5), torch.tensor([2]), [name])[name] == pytest.approx(expected)


def test_vectors_that_are_all_equal_score_like_chance() -> None:
    same = vectors(1).repeat(40, 1)
    scores = retrieval_scores(same, same, torch.arange(40))
    assert scores["recall@1"] == pytest.approx(1 / 40)
    assert scores["recall@10"] == pytest.approx(10 / 40)
    assert scores["mrr@10"] == pytest.approx(sum(1 / r for r in range(1, 11)) / 40)


def test_zero_vectors_score_like_chance() -> None:
    assert retrieval_scores(torch.zeros(3, 4), torch.zeros(3, 4), torch.arange(3))["recall@1"] == pytest.approx(1 / 3)


def test_the_order_of_the_documents_changes_nothing() -> None:
    queries, documents = vectors(30), vectors(20, seed=1).round(decimals=0)  # rounded: many ties
    relevant = torch.arange(30) % 20
    order = torch.randperm(20, generator=torch.Generator().manual_seed(2))
    moved = retrieval_scores(queries, documents[order], order.argsort()[relevant])
    assert moved == pytest.approx(retrieval_scores(queries, documents, relevant))


def test_scores_equal_those_of_torchmetrics_on_the_whole_matrix() -> None:
    from torchmetrics.retrieval import RetrievalMRR, RetrievalNormalizedDCG, RetrievalRecall

    queries, documents, relevant = vectors(50), vectors(40, seed=1), torch.arange(50) % 40
    preds = queries @ documents.T
    target = torch.zeros(50, 40, dtype=torch.long).scatter_(1, relevant[:, None], 1)
    indexes = torch.arange(50)[:, None].expand(50, 40)
    expected = {
        "ndcg@10": RetrievalNormalizedDCG(top_k=10)(preds, target, indexes),
        "mrr@10": RetrievalMRR(top_k=10)(preds, target, indexes),
        "recall@1": RetrievalRecall(top_k=1)(preds, target, indexes),
        "recall@10": RetrievalRecall(top_k=10)(preds, target, indexes),
    }
    assert retrieval_scores(queries, documents, relevant) == pytest.approx({k: float(v) for k, v in expected.items()})


def test_ndcg_of_ties_equals_torchmetrics_on_the_whole_matrix() -> None:
    from torchmetrics.functional.retrieval import retrieval_normalized_dcg

    queries, documents, relevant = vectors(30), vectors(40, seed=1).sign(), torch.arange(30)
    queries = queries.sign()
    expected = []
    for query, own in zip(queries, relevant, strict=True):
        target = torch.zeros(40, dtype=torch.long)
        target[own] = 1
        expected.append(float(retrieval_normalized_dcg(documents @ query, target, top_k=10)))
    got = retrieval_scores(queries, documents, relevant, ["ndcg@10"])["ndcg@10"]
    assert got == pytest.approx(sum(expected) / 30, abs=1e-6)


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    queries, documents, relevant = vectors(23), vectors(9, seed=1), torch.arange(23) % 9
    whole = retrieval_scores(queries, documents, relevant)
    monkeypatch.setattr(ranking, "_CHUNK", 4 * 9)
    assert retrieval_scores(queries, documents, relevant) == pytest.approx(whole)


def test_one_query_and_one_document_score_one() -> None:
    assert set(retrieval_scores(vectors(1), vectors(1), torch.tensor([0])).values()) == {1.0}


def test_a_cutoff_beyond_the_number_of_documents_is_fine() -> None:
    assert retrieval_scores(vectors(3), vectors(3, seed=1), torch.arange(3), ["recall@100"]) == {"recall@100": 1.0}


def test_autocast_around_the_call_changes_nothing() -> None:
    queries, documents, relevant = vectors(60), vectors(60, seed=1), torch.arange(60)
    plain = retrieval_scores(queries, documents, relevant)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert retrieval_scores(queries, documents, relevant) == plain


def test_bf16_vectors_score_as_their_float32_values() -> None:
    queries, documents, relevant = vectors(20).bfloat16(), vectors(20, seed=1).bfloat16(), torch.arange(20)
    assert retrieval_scores(queries, documents, relevant) == retrieval_scores(
        queries.float(), documents.float(), relevant
    )


def test_vectors_with_nan_are_counted_in_the_error() -> None:
    documents = vectors(5)
    documents[1, 3], documents[4, 0] = float("nan"), float("inf")
    with pytest.raises(UserError, match="2 of 5 document vectors hold NaN or infinity"):
        retrieval_scores(vectors(5), documents, torch.arange(5))


def test_no_query_is_an_error() -> None:
    with pytest.raises(UserError, match="no query vectors"):
        retrieval_scores(torch.zeros(0, 4), vectors(2, 4), torch.zeros(0, dtype=torch.long))


def test_fewer_relevant_rows_than_queries_is_an_error() -> None:
    with pytest.raises(UserError, match="each of 5 queries, got 1"):
        retrieval_scores(vectors(5), vectors(5), torch.tensor([0]))


@pytest.mark.parametrize("name", ["ndcg", "ndcg@0", "map@10", "ndcg@-1", "recall@x"])
def test_an_unknown_metric_is_an_error_that_names_it(name: str) -> None:
    with pytest.raises(UserError, match=name):
        parse_metric(name)


def test_distinct_keeps_the_first_vector_of_each_key_and_points_each_row_to_it() -> None:
    rows = torch.arange(5.0)[:, None]
    kept, index = distinct(rows, torch.tensor([7, -3, 7, 9, -3]))
    assert kept[index].flatten().tolist() == [0, 1, 0, 3, 1]
    assert len(kept) == 3
