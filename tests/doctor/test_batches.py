"""A source's batches, by hand and by independent loops."""

from collections import Counter
from typing import Any

import pytest
import torch

from lightning_embed.batch import TokenBatch, Tokens, text_key
from lightning_embed.cli.doctor import devices
from lightning_embed.datamodules.plan import Plan
from lightning_embed.doctor.batches import chunks_of, negatives_seen, padding_share, repeated_rows, turns_of
from lightning_embed.losses import InfoNCE


def test_padding_by_hand() -> None:
    # a budget of 8 tokens: two texts of 4, then two of 2; as one block 16 places hold 12 tokens
    assert chunks_of([2, 4, 2, 4], max_tokens=8) == [(2, 4), (2, 2)]
    assert padding_share(12, chunks_of([2, 4, 2, 4], max_tokens=8)) == 0
    assert padding_share(12, [(4, 4)]) == 0.25


def _batch(rows: list[tuple[str, str, list[str]]], **more: Any) -> TokenBatch:
    columns = {
        "anchor": [a for a, _, _ in rows],
        "positive": [p for _, p, _ in rows],
        "negative": [n for _, _, negatives in rows for n in negatives],
    }
    keys = {role: torch.tensor([text_key(t) for t in texts], dtype=torch.long) for role, texts in columns.items()}
    tokens = {role: Tokens(torch.ones(len(texts)), torch.ones(len(texts))) for role, texts in columns.items()}
    counts = torch.tensor([len(negatives) for _, _, negatives in rows])
    return TokenBatch(tokens, keys=keys, negative_counts=counts, **more)


def test_negatives_seen_by_an_independent_loop() -> None:
    rows = [("a", "p", ["n"]), ("b", "q", ["p", "m"]), ("a", "r", []), ("d", "q", ["d"]), ("e", "s", ["n", "n"])]
    documents = [p for _, p, _ in rows] + [n for _, _, negatives in rows for n in negatives]
    expected = []
    for i, (anchor, positive, _) in enumerate(rows):
        of_equal_anchors = {j for j, (a, _, _) in enumerate(rows) if a == anchor}
        texts = {anchor, positive}
        expected.append(
            sum(j != i and document not in texts and j not in of_equal_anchors for j, document in enumerate(documents))
        )
    assert negatives_seen(_batch(rows), None).tolist() == expected == [8, 9, 9, 8, 10]
    unmasked = InfoNCE(mask_same_text=False)
    assert negatives_seen(_batch(rows), unmasked).tolist() == [10] * 5


def test_labels_and_documents_take_negatives_away() -> None:
    rows: list[tuple[str, str, list[str]]] = [(f"a{i}", f"p{i}", []) for i in range(4)]
    label = torch.tensor([0, 0, 1, 2])
    assert negatives_seen(_batch(rows, label={"anchor": label, "positive": label}), None).tolist() == [2, 2, 3, 3]
    assert negatives_seen(_batch(rows, document={"positive": label}), None).tolist() == [2, 2, 3, 3]


def test_repeated_rows_of_a_batch_by_hand() -> None:
    # the first two share an anchor, the third's positive is the fourth's negative; a negative alone does not count
    rows = [("a", "p", ["x"]), ("a", "q", ["x"]), ("c", "r", []), ("d", "s", ["r"]), ("e", "t", ["t"])]
    assert repeated_rows(_batch(rows)) == 3


def test_turns_of_a_run_are_those_of_the_plan() -> None:
    plan = Plan((100, 40, 9), (10, 10, 10), turns=(7, 5, 2), seed=3)
    for steps in (1, 5, 14, 33):
        counts = Counter(plan[step].source for step in range(steps))
        assert turns_of(plan, steps) == [counts[source] for source in range(3)]
    assert turns_of(plan, None) == [7, 5, 2]


@pytest.mark.parametrize(
    ("asked", "gpus", "ranks"),
    [("auto", 0, 1), ("auto", 4, 4), (-1, 2, 2), (3, 0, 3), ("2", 8, 2), ([0, 5], 8, 2), ("0,1,", 8, 2)],
)
def test_devices(asked: Any, gpus: int, ranks: int) -> None:
    assert devices(asked, gpus) == ranks
