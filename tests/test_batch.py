import pytest
import torch

from lightning_embed.batch import EmbeddingBatch, Taught, TokenBatch, Tokens, text_key
from lightning_embed.errors import UserError


def test_every_tensor_moves_to_the_device_and_lengths_stay() -> None:
    tokens = Tokens(torch.arange(3), torch.tensor([2, 1]))
    batch = TokenBatch(
        student={"anchor": tokens},
        teacher={"anchor": tokens},
        teacher_vectors={"anchor": torch.zeros(2, 4)},
        keys={"anchor": torch.zeros(2, dtype=torch.long)},
        negative_counts=torch.ones(2),
        score={"positive": torch.ones(2)},
        rows=[4, 5],
        source="docs",
        tokens_of={"a": {"anchor": tokens}},
        vectors_of={"b": {"anchor": torch.zeros(2, 3)}},
    )
    moved = batch.to("meta", True)
    parts = [moved.student["anchor"].ids, moved.teacher["anchor"].ids, moved.teacher_vectors["anchor"]]
    parts += [moved.keys["anchor"], moved.negative_counts, moved.score["positive"]]
    parts += [moved.of_teacher("a").teacher["anchor"].ids, moved.of_teacher("b").teacher_vectors["anchor"]]
    assert {str(part.device) for part in parts} == {"meta"}
    assert moved.student["anchor"].lengths.tolist() == [2, 1] and moved.rows == [4, 5] and moved.source == "docs"
    assert len(batch) == 2 and batch.token_count == 3


def test_truncation_is_a_view_that_shares_the_whole_batchs_gathers() -> None:
    batch = EmbeddingBatch({"anchor": torch.arange(6.0).reshape(2, 3)}, keys={"anchor": torch.tensor([1, 2])})
    short = batch.truncate(2)
    assert short.dim == 2 and short.gather("student", "anchor").rows.tolist() == [[0, 1], [3, 4]]
    assert short.truncate(1).gather("keys", "anchor").rows is batch.gather("keys", "anchor").rows


def test_a_teachers_view_has_its_own_vectors_and_shares_every_other_gather() -> None:
    taught = {name: Taught({"anchor": torch.full((2, size), 1.0 * size)}, None) for size, name in enumerate("ab", 3)}
    batch = EmbeddingBatch({"anchor": torch.zeros(2, 5)}, keys={"anchor": torch.tensor([1, 2])}, by_teacher=taught)
    for name in "ab":
        own = batch.of_teacher(name)
        assert own.gather("teacher", "anchor").rows is taught[name].vectors["anchor"]
        assert own.truncate(2).gather("teacher", "anchor").rows is taught[name].vectors["anchor"]
        assert own.gather("keys", "anchor").rows is batch.gather("keys", "anchor").rows
    assert batch.of_teacher("c").has("teacher") is False and batch.of_teacher(None) is batch


def test_negatives_belong_to_anchors_by_their_counts() -> None:
    vectors = {"anchor": torch.zeros(3, 2), "negative": torch.zeros(3, 2)}
    assert EmbeddingBatch(vectors, negative_counts=torch.tensor([2, 0, 1])).negative_owner.tolist() == [0, 0, 2]
    with pytest.raises(UserError, match="3 negatives, but the counts of 3 anchors say 2"):
        _ = EmbeddingBatch(vectors, negative_counts=torch.tensor([1, 0, 1]), source="x").negative_owner


def test_a_texts_key_is_the_same_in_every_process() -> None:
    assert text_key("ψ") == text_key("ψ") != text_key("φ")
    assert text_key("embedding") == -1463037826673412537  # blake2b, eight bytes, little-endian, signed
