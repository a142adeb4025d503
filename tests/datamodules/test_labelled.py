"""Rows of text and label become an anchor, a positive of its label and negatives of other labels, drawn again each epoch."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lightning_embed.datamodules.collate import text_batch
from lightning_embed.datamodules.plan import Plan
from lightning_embed.datamodules.sources import Source
from lightning_embed.datamodules.sources.bad_rows import BadRows
from lightning_embed.datamodules.sources.labelled import Labelled, lone
from lightning_embed.datamodules.sources.opening import open_source
from lightning_embed.datamodules.sources.rows import Rows
from lightning_embed.errors import UserError

LABELS = np.array([0] * 50 + [1] * 7 + [2] * 2 + [3] * 41)


@pytest.mark.parametrize("negatives", [0, 1, 3, 7])
def test_each_positive_has_its_label_and_each_negative_another_one(negatives: int) -> None:
    drawn = Labelled(LABELS, negatives, "x")
    rows = np.arange(100)
    for key in range(30):
        positives, others = drawn.positives(rows, key), drawn.draw_negatives(rows, key)
        assert (LABELS[positives] == LABELS).all() and (positives != rows).all()
        assert others.shape == (100, negatives) and (LABELS[others] != LABELS[:, None]).all()
        assert all(len(set(row)) == negatives for row in others)


def test_draws_are_fair_and_other_ones_under_another_key() -> None:
    drawn = Labelled(LABELS, 4, "x")
    row = np.array([3])
    positives = Counter(int(drawn.positives(row, key)[0]) for key in range(4_900))
    assert (
        set(positives) == set(range(50)) - {3} and max(positives.values()) < 160
    )  # 100 each, by chance 10 more or less
    negatives = Counter(n for key in range(4_900) for n in drawn.draw_negatives(row, key)[0].tolist())
    assert set(negatives) == set(range(50, 100)) and max(negatives.values()) < 600 and min(negatives.values()) > 250


def test_a_draw_depends_on_the_row_and_the_key_alone() -> None:
    drawn = Labelled(LABELS, 3, "x")
    rows = np.array([99, 4, 51])
    for i, row in enumerate(rows):
        assert drawn.positives(rows[[i]], 7)[0] == drawn.positives(rows, 7)[i]
        assert (drawn.draw_negatives(np.array([row]), 7)[0] == drawn.draw_negatives(rows, 7)[i]).all()


def test_there_are_no_more_negatives_than_rows_of_other_labels() -> None:
    drawn = Labelled(np.array(["a"] * 9 + ["b"] * 2), 7, "x")
    assert drawn.draw_negatives(np.arange(11), 0).shape == (11, 2)


def test_lone_rows_are_those_whose_label_no_other_has() -> None:
    assert lone(np.array([3, 5, 3, 9])).tolist() == [False, True, False, True]


def opened(folder: Path, labels: list[Any], bad: BadRows | None = None, **given: Any) -> Rows:
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps({"text": f"t{i}", "label": label}) + "\n" for i, label in enumerate(labels)))
    return open_source(Source(str(file), **given), bad_rows=bad)


@pytest.mark.parametrize("labels", [["a", "b", "ü"] * 6, [0, 1, 1 << 60] * 6, [True, False, False] * 6])
def test_a_batch_carries_texts_and_labels_of_all_roles(tmp_path: Path, labels: list[Any]) -> None:
    rows = opened(tmp_path, labels, negatives=2)
    seen = set()
    for step in range(4):
        batch = text_batch(rows, Plan((18,), (18,))[step])
        label = {f"t{i}": one for i, one in enumerate(labels)}
        assert batch.negative_counts == [2] * 18
        for i, (anchor, positive) in enumerate(zip(batch.texts["anchor"], batch.texts["positive"], strict=True)):
            assert label[anchor] == label[positive] and anchor != positive
            assert batch.label["anchor"][i] == batch.label["positive"][i]
            for negative, code in list(zip(batch.texts["negative"], batch.label["negative"], strict=True))[
                2 * i : 2 * i + 2
            ]:
                assert label[negative] != label[anchor] and code != batch.label["anchor"][i]
        seen.add(tuple(batch.texts["positive"]))
    assert len(seen) == 4


def test_seven_negatives_unless_told_otherwise_and_a_select_keeps_each_with_its_own(tmp_path: Path) -> None:
    batch = text_batch(opened(tmp_path, ["a", "b"] * 10), Plan((20,), (6,))[0])
    part = batch.select([4, 1])
    assert batch.negative_counts == [7] * 6
    assert part.texts["negative"] == batch.texts["negative"][28:35] + batch.texts["negative"][7:14]
    assert part.label["negative"] == batch.label["negative"][28:35] + batch.label["negative"][7:14]


def test_rows_without_a_label_or_alone_with_it_are_bad(tmp_path: Path) -> None:
    labels = ["a", None, "b", "a", "c", "c"]
    with pytest.raises(UserError, match="line 2, column 'label': expected a label, got none"):
        opened(tmp_path, labels)
    bad = BadRows("skip", 1.0)
    rows = opened(tmp_path, labels, bad)
    assert rows.numbers(range(len(rows))) == [0, 3, 4, 5]
    assert [row.reason for _, row in bad.found] == ["expected a label, got none", "no other row has its label 'b'"]
    batch = text_batch(rows, Plan((4,), (4,), shuffle=False)[0])
    assert batch.texts["positive"] == ["t3", "t0", "t5", "t4"]


@pytest.mark.parametrize("labels", [["a"] * 4, [1] * 4])
def test_one_label_is_not_enough(tmp_path: Path, labels: list[Any]) -> None:
    with pytest.raises(UserError, match="all 4 rows have the same label; at least two"):
        opened(tmp_path, labels)


def test_labels_of_rows_that_have_positives_are_carried_along(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(f'{{"anchor": "a", "positive": "p", "label": {label}}}\n' for label in (5, 7)))
    batch = text_batch(open_source(Source(str(file))), Plan((2,), (2,), shuffle=False)[0])
    assert batch.label == {"anchor": [5, 7], "positive": [5, 7]}
