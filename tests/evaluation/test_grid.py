"""The grid against its parts, and what it refuses."""

import dataclasses
import math
from typing import Any

import pytest
import torch

from lightning_embed.errors import UserError
from lightning_embed.evaluation.metrics.grid import GridRow, change, full_precision
from lightning_embed.evaluation.metrics.quantize import PRECISIONS, quantize
from lightning_embed.evaluation.metrics.ranking import retrieval_scores
from lightning_embed.evaluation.metrics.retrieval import Retrieval
from lightning_embed.heads.quantize import truncate


def data(rows: int = 60, dim: int = 32) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    documents = torch.randn(rows, dim, generator=generator)
    return documents + torch.randn(rows, dim, generator=generator), documents, torch.arange(rows)


def grid_of(
    queries: torch.Tensor,
    documents: torch.Tensor,
    relevant: torch.Tensor,
    dims: list[int],
    precisions: Any = PRECISIONS,
) -> list[GridRow]:
    metric = Retrieval()
    ones = torch.ones(len(queries), 1)
    metric.update(queries, torch.arange(len(queries)), relevant, ones, documents[relevant], relevant)
    return metric.grid(dims, precisions)


def test_a_row_for_each_size_and_precision_from_large_to_small() -> None:
    grid = grid_of(*data(), dims=[8, 32, 8], precisions=["float32", "binary"])
    assert [(row.dim, row.precision, row.bytes_per_vector) for row in grid] == [
        (32, "float32", 128),
        (32, "binary", 4),
        (8, "float32", 32),
        (8, "binary", 1),
    ]


def test_rows_hold_the_scores_of_truncated_then_normalised_then_quantised_vectors() -> None:
    queries, documents, relevant = data()
    for row in grid_of(queries, documents, relevant, dims=[16, 4], precisions=["float32", "int8", "binary"]):
        short = truncate(queries, row.dim), truncate(documents, row.dim)
        assert row.scores == retrieval_scores(*quantize(*short, row.precision), relevant)


def test_fewer_bits_score_less_on_noisy_pairs() -> None:
    by_precision = {row.precision: row.scores["ndcg@10"] for row in grid_of(*data(400, 32), dims=[32])}
    assert by_precision["binary"] < by_precision["binary_rescore"] < by_precision["float32"]
    assert by_precision["int8"] == pytest.approx(by_precision["float32"], abs=0.01)


def test_more_candidates_than_documents_and_a_single_document_work() -> None:
    one = torch.randn(1, 8)
    assert all(set(row.scores.values()) == {1.0} for row in grid_of(one, one, torch.tensor([0]), dims=[8, 1]))


def test_the_inputs_are_left_as_they_are_and_bf16_is_taken() -> None:
    queries, documents, relevant = data()
    kept = queries.clone(), documents.clone()
    grid_of(queries, documents, relevant, dims=[32, 8])
    assert torch.equal(queries, kept[0]) and torch.equal(documents, kept[1])
    assert grid_of(queries.bfloat16(), documents.bfloat16(), relevant, dims=[8])


@pytest.mark.parametrize("dims", [[64], [0], [32, 33], []])
def test_sizes_that_the_model_has_not_are_an_error(dims: list[int]) -> None:
    with pytest.raises(UserError, match="1 to 32"):
        grid_of(*data(), dims=dims)


def test_an_unknown_precision_is_an_error() -> None:
    with pytest.raises(UserError, match="fp8"):
        grid_of(*data(), dims=[8], precisions=["fp8"])


def test_nan_vectors_are_an_error_in_every_precision() -> None:
    queries, documents, relevant = data()
    documents[2] = float("nan")
    with pytest.raises(UserError, match="1 of 60 document vectors"):
        grid_of(queries, documents, relevant, dims=[8], precisions=["binary"])


def test_rows_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        GridRow(8, "float32", 32, {}).dim = 4  # type: ignore[misc]


def test_the_change_of_the_paper_by_hand() -> None:
    lost = change(0.6260, 0.6450)
    assert lost.points == pytest.approx(-1.90)
    assert lost.percent == pytest.approx(-100 * 1.90 / 64.50)
    assert math.isnan(change(0.1, 0.0).percent)


def test_full_precision_is_the_largest_float32_row() -> None:
    rows = [GridRow(8, "float32", 32, {}), GridRow(32, "binary", 4, {}), GridRow(16, "float32", 64, {})]
    assert full_precision(rows) is rows[2]
    assert full_precision(rows[1:2]) is None
