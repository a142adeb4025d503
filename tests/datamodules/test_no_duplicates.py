"""Equal texts are kept out of a batch by a function of the plan, and no row is lost while there is room for it."""

import json
from pathlib import Path

import pytest

from lightning_embed.datamodules.collate import Steps
from lightning_embed.datamodules.no_duplicates import NoDuplicates, spread
from lightning_embed.datamodules.plan import Plan, Step
from lightning_embed.datamodules.sources import Source
from lightning_embed.datamodules.sources.opening import open_source
from lightning_embed.tokenizer import TextTokenizer


def keys(*texts: str) -> list[frozenset[int]]:
    return [frozenset(map(ord, text)) for text in texts]


def test_spread_by_hand() -> None:
    assert spread(keys("a", "a", "b", "c"), 2, 2) == [[0, 2], [1, 3]]
    assert spread(keys("ab", "bc", "ca", "d"), 2, 2) == [[0, 3], [1]]  # "ca" meets a or c in either
    assert spread(keys("a", "b", "c", "d"), 2, 2) == [[0, 1], [2, 3]]  # without equal texts nothing moves


def _texts(row: int) -> frozenset[int]:
    return frozenset({row % 23, 1_000 + row})


@pytest.mark.parametrize("batch_size", [5, 16])
def test_no_batch_holds_a_text_twice_and_each_row_comes_once_an_epoch(batch_size: int) -> None:
    plan = Plan((2_000,), (batch_size,), seed=2)
    steps = NoDuplicates(plan, lambda step: [_texts(row) for row in step.rows.tolist()])
    for epoch in range(2):
        seen: list[int] = []
        for k in range(epoch * len(plan), (epoch + 1) * len(plan)):
            rows = steps[k].rows.tolist()
            assert 1 <= len(rows) <= batch_size
            assert len({row % 23 for row in rows}) == len(rows)
            seen += rows
        assert len(seen) == len(set(seen)) >= 0.98 * len(plan) * batch_size


def test_a_step_is_the_same_asked_for_alone_or_in_any_order() -> None:
    plan = Plan((300, 200), (8, 5), turns=(10, 60), seed=4)

    def of(step: Step) -> list[frozenset[int]]:
        return [_texts(row) for row in step.rows.tolist()]

    steps = NoDuplicates(plan, of)
    forward = [steps[k].rows.tolist() for k in range(150)]
    for k in (149, 3, 77, 0, 76, 140):
        assert steps[k].rows.tolist() == forward[k] == NoDuplicates(plan, of)[k].rows.tolist()


def test_rows_that_are_all_alike_leave_one_a_batch() -> None:
    steps = NoDuplicates(Plan((40,), (4,)), lambda step: [frozenset({1})] * len(step.rows))
    assert [len(steps[k].rows) for k in range(10)] == [1] * 10


def test_batches_of_texts_hold_no_text_twice_on_any_number_of_ranks(tmp_path: Path, student: Path) -> None:
    rows = [{"anchor": f"w{i % 17}", "positive": f"w{20 + i}", "negative": [f"w{120 + i % 40}"]} for i in range(90)]
    rows += [{"anchor": f"w{180 + i}", "positive": f"w{i % 17}", "negative": []} for i in range(10)]  # across roles
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = open_source(Source(str(file)))
    tokenizer = TextTokenizer(student, {}, 16, False)
    plan = Plan((100,), (10,), seed=1)
    for world in (1, 2):
        for k in range(20):
            parts = [Steps([source], plan, tokenizer, None, r, world, True, True)[k] for r in range(world)]
            texts = [key for part in parts for column in part.keys.values() for key in column.tolist()]
            assert len(texts) == len(set(texts))
