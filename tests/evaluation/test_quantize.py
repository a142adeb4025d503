"""Quantised vectors against sentence-transformers, against loops, and by hand."""

import numpy as np
import pytest
import torch

from lightning_embed.errors import UserError
from lightning_embed.evaluation.metrics.quantize import (
    bytes_per_vector,
    check_precision,
    quantize,
    similarity_of,
)
from lightning_embed.evaluation.metrics.ranking import retrieval_scores
from lightning_embed.heads.quantize import int8_codes, int8_ranges, signs, truncate


def vectors(rows: int, dim: int = 24, seed: int = 0) -> torch.Tensor:
    return truncate(torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed)), dim)


def test_truncation_normalises_what_is_left() -> None:
    short = truncate(torch.tensor([[3.0, 4.0, 12.0], [0.0, 0.0, 1.0]]), 2)
    torch.testing.assert_close(short, torch.tensor([[0.6, 0.8], [0.0, 0.0]]))


def test_truncation_of_bf16_gives_float32_of_unit_length() -> None:
    short = truncate(torch.randn(5, 8).bfloat16(), 6)
    assert short.dtype == torch.float32
    torch.testing.assert_close(short.norm(dim=-1), torch.ones(5))


@pytest.mark.parametrize("dim", [0, 9, -1])
def test_truncation_beyond_the_vectors_is_an_error(dim: int) -> None:
    with pytest.raises(UserError, match=f"8 dims to {dim}"):
        truncate(torch.ones(2, 8), dim)


def test_codes_and_bits_equal_those_of_sentence_transformers() -> None:
    from sentence_transformers.util.quantization import quantize_embeddings

    documents, queries = vectors(150), vectors(40, seed=1)
    documents[:, 5] = 0.25  # a constant dim
    documents[3, 7] = 0.0  # neither positive nor negative
    for given in (documents, queries):  # queries lie beyond the documents' range in places
        theirs = quantize_embeddings(given.numpy(), "int8", calibration_embeddings=documents.numpy())
        assert np.array_equal(int8_codes(given, *int8_ranges(documents)).numpy(), theirs)
        bits = np.unpackbits(quantize_embeddings(given.numpy(), "ubinary"), axis=-1)[:, : given.shape[1]]
        assert np.array_equal((signs(given) > 0).numpy(), bits.astype(bool))
        packed = quantize_embeddings(given.numpy(), "binary")
        assert packed.shape[1] * packed.itemsize == bytes_per_vector(given.shape[1], "binary")
        assert theirs.shape[1] * theirs.itemsize == bytes_per_vector(given.shape[1], "int8")


def test_restored_int8_documents_are_within_a_step_of_the_originals() -> None:
    documents = vectors(60)
    _, restored = quantize(documents, documents, "int8")
    lost = documents - restored
    assert lost.min() >= -1e-6
    assert (lost <= int8_ranges(documents)[1] + 1e-6).all()
    assert lost.abs().max() > 1e-4  # something is lost


def test_int8_is_calibrated_on_the_documents_alone() -> None:
    documents = vectors(60)
    _, one = quantize(vectors(9, seed=1), documents, "int8")
    _, other = quantize(100 * vectors(9, seed=2), documents, "int8")
    torch.testing.assert_close(one, other)


def test_one_document_can_be_quantised() -> None:
    one = vectors(1)
    for precision in ("int8", "binary", "binary_rescore"):
        scores = retrieval_scores(
            *quantize(one, one, precision), torch.tensor([0]), similarity=similarity_of(precision)
        )
        assert scores["recall@1"] == 1


def test_the_binary_score_is_one_minus_twice_the_hamming_distance_over_dims() -> None:
    queries, documents = vectors(6), vectors(5, seed=1)
    scores = similarity_of("binary")(*quantize(queries, documents, "binary"))
    for i, query in enumerate(queries):
        for j, document in enumerate(documents):
            hamming = sum((a > 0) != (b > 0) for a, b in zip(query.tolist(), document.tolist(), strict=True))
            assert float(scores[i, j]) == pytest.approx(1 - 2 * hamming / 24, abs=1e-6)


@pytest.mark.parametrize("depth", [1, 3, 100])
def test_rescoring_equals_a_loop_over_the_candidates(depth: int) -> None:
    queries, documents = vectors(12), vectors(50, seed=1)
    got = similarity_of("binary_rescore", depth)(*quantize(queries, documents, "binary_rescore"))
    for query, row in zip(queries, got, strict=True):
        distance = [int(((query > 0) != (document > 0)).sum()) for document in documents]
        last = sorted(distance)[min(4 * depth, 50) - 1]
        for d, document in enumerate(documents):
            expected = -float("inf")
            if distance[d] <= last:
                expected = sum(q * (1 if x > 0 else -1) for q, x in zip(query.tolist(), document.tolist(), strict=True))
                expected /= 24**0.5
            assert float(row[d]) == pytest.approx(expected, abs=1e-5)


def test_rescoring_ranks_as_sentence_transformers_ranks_with_bits_of_zero_and_one() -> None:
    query, documents = vectors(1), vectors(30, seed=1)
    ours = similarity_of("binary_rescore", 100)(*quantize(query, documents, "binary_rescore"))[0]
    bits = (documents > 0).float() @ query[0]
    assert ours.argsort(descending=True).tolist() == bits.argsort(descending=True).tolist()


@pytest.mark.parametrize("precision", ["float32", "int8", "binary", "binary_rescore"])
def test_all_equal_vectors_score_like_chance_in_every_precision(precision) -> None:
    same = vectors(1).repeat(100, 1)
    relevant = torch.arange(100)
    scores = retrieval_scores(*quantize(same, same, precision), relevant, similarity=similarity_of(precision, 10))
    assert scores["recall@1"] == pytest.approx(0.01)
    assert scores["recall@10"] == pytest.approx(0.1)


def test_bytes_per_vector_by_hand() -> None:
    assert [bytes_per_vector(100, p) for p in ("float32", "int8", "binary", "binary_rescore")] == [400, 100, 13, 13]


def test_an_unknown_precision_is_an_error_that_names_it() -> None:
    with pytest.raises(UserError, match="int4"):
        check_precision("int4")
