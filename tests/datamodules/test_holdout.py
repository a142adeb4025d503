"""`holdout`: rows held out of training, none of which shares a text with a training row."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lightning_embed import EmbeddingDataModule, Source, UserError
from lightning_embed.datamodules.holdout import Keys, hold_out, near_key
from tests.cli.test_fit import config, losses, refused, run

ROWS = [{"anchor": f"question {i}", "positive": f"answer {i}"} for i in range(200)]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))


def texts(data: EmbeddingDataModule, split: str, role: str = "anchor") -> set[str]:
    return {text for rows in data.rows(split) for text in rows.take(range(len(rows)))[role]}


def test_a_share_of_each_source_is_held_out_for_validation_and_test() -> None:
    other = [{"anchor": f"other {i}", "positive": f"reply {i}"} for i in range(100)]
    data = EmbeddingDataModule([ROWS, other], holdout=0.1)
    assert [len(rows) for split in ("train", "validation", "test") for rows in data.rows(split)] == [
        180,
        90,
        10,
        5,
        10,
        5,
    ]
    held = [texts(data, split) for split in ("train", "validation", "test")]
    assert len(set.union(*held)) == sum(map(len, held)) == 300
    assert [r.source.title for r in data.rows("validation")] == ["rows 1", "rows 2"]


def test_what_is_given_stays_and_the_other_gets_all() -> None:
    data = EmbeddingDataModule(ROWS, validation=ROWS[:7], holdout=0.1)
    assert [len(data.rows(split)[0]) for split in ("train", "validation", "test")] == [180, 7, 20]
    with pytest.raises(UserError, match="validation and test are both given"):
        EmbeddingDataModule(ROWS, validation=ROWS, test=ROWS, holdout=0.1)


def test_the_choice_depends_on_the_texts_alone() -> None:
    shuffled = random.Random(1).sample(ROWS, len(ROWS))
    first, other = (EmbeddingDataModule(rows, holdout=0.1, seed=seed) for seed, rows in enumerate((ROWS, shuffled)))
    for split in ("train", "validation", "test"):
        assert texts(first, split) == texts(other, split)


def test_near_duplicates_in_any_role_and_source_stay_on_one_side() -> None:
    near = [{"anchor": f"other {i}", "positive": f"QUESTION,\t{i}!"} for i in range(0, 200, 2)]
    twins = [
        {"anchor": f"Question  {i}?", "positive": f"more {i}", "negative": f"answer {i}."} for i in range(0, 200, 5)
    ]
    data = EmbeddingDataModule([ROWS, near, twins], holdout=0.2)
    sides = []
    for split in ("train", "validation", "test"):
        taken = [rows.take(range(len(rows))) for rows in data.rows(split)]
        cells = [cell for one in taken for role in one.values() for cell in role]
        sides.append({near_key(text) for cell in cells for text in (cell if isinstance(cell, list) else [cell])})
    assert not sides[0] & sides[1] and not sides[0] & sides[2] and not sides[1] & sides[2]
    assert sum(len(rows) for rows in data.rows("validation")) > 10


def test_groups_too_large_for_the_share_train() -> None:
    rows = [{"anchor": f"q{i}", "positive": "yes" if i % 2 else f"a{i}"} for i in range(100)]
    (part,) = hold_out([Keys.of(row.values() for row in rows)], [0.1])
    assert part.sum() == 10 and not part[1::2].any()
    with pytest.raises(UserError, match="not one of 20 training rows can be held out, because too many of them share"):
        EmbeddingDataModule([{"anchor": f"q{i}", "positive": "yes"} for i in range(20)], holdout=0.1).rows("train")


def test_pairs_that_do_not_belong_together_are_no_validation_pairs() -> None:
    rows = [{**row, "label": i % 2} for i, row in enumerate(ROWS)]
    data = EmbeddingDataModule(Source(rows, task="retrieval"), holdout=0.2)
    assert len(data.rows("train")[0]) == 160 and 0 < len(data.rows("validation")[0]) < 20


def test_a_filter_and_bad_rows_are_counted_once() -> None:
    rows: list[Any] = [*ROWS, {"anchor": "", "positive": "a"}]
    data = EmbeddingDataModule(Source(rows, filter=["positive != 'answer 3'"]), holdout=0.1, on_bad_row="skip")
    assert len(data.rows("train")[0]) + len(data.rows("validation")[0]) + len(data.rows("test")[0]) == 199
    assert len(data.bad_rows.found) == 1


def test_texts_alone_and_texts_with_labels_are_held_out() -> None:
    alone = [{"text": f"text {i}"} for i in range(100)]
    labelled = [{"text": f"review {i}", "label": "abc"[i % 3]} for i in range(120)]
    data = EmbeddingDataModule([alone, labelled], holdout=0.2)
    sizes = [[len(rows) for rows in data.rows(split)] for split in ("train", "validation", "test")]
    assert [s[0] for s in sizes] == [80, 10, 10] and sum(s[1] for s in sizes) == 120 and sizes[0][1] == 96
    held = [texts(data, split) for split in ("train", "validation", "test")]
    assert len(set.union(*held)) == sum(map(len, held)) == 220
    rows, other = data.rows("train")[1], data.rows("validation")[1]
    labels, texts_of = rows.take(range(96))["label"], set(other.take(range(len(other)))["anchor"])
    assert rows.labelled is not None and other.labelled is not None
    for drawn, same in (
        (rows.labelled.positives, True),
        (lambda r, k: rows.labelled.draw_negatives(r, k)[:, 0], False),
    ):
        picked = drawn(np.arange(96), 3)
        assert all((labels[a] == labels[b]) is same for a, b in enumerate(picked))
        assert not texts_of & set(rows.take(picked.tolist())["anchor"])


def test_a_label_that_the_holdout_leaves_with_one_row_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"text": f"review {i}", "label": i // 2} for i in range(100)]
    data = EmbeddingDataModule(rows, test=ROWS, holdout=0.2)
    kept = data.rows("train")[0].take(range(len(data.rows("train")[0])))["label"]
    assert min(map(kept.count, kept)) == 2 and 60 < len(kept) < 80
    assert "the holdout leaves no other row of their label" in capsys.readouterr().err


@pytest.mark.parametrize("value", [-0.1, 1, float("nan"), True, None])
def test_a_share_that_is_none_is_refused(value: Any) -> None:
    with pytest.raises(UserError, match="holdout must be"):
        EmbeddingDataModule(ROWS, holdout=value)


def test_a_job_validates_on_held_out_rows_and_resumes_with_the_same_alone(
    teacher: Path, student: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "pairs.jsonl"
    file.write_text("".join(json.dumps({"anchor": f"w{i}", "positive": f"w{i + 90}"}) + "\n" for i in range(90)))
    job = config(teacher, student, file, tmp_path / "run")
    job["data"]["init_args"] |= {"validation": None, "test": None, "holdout": 0.1, "cache_tokens": True}
    run(job, tmp_path, "--report.enabled", "false")
    assert "of 90 rows, 4 for validation and 4 for test are held out" in capsys.readouterr().err
    assert (tmp_path / "run/checkpoints/best.ckpt").exists()
    job["trainer"]["max_steps"] = 6
    resume = ("--report.enabled", "false", "--ckpt_path", "last")
    assert "holdout 0.1 -> 0.2" in refused(job, tmp_path, capsys, *resume, "--data.init_args.holdout", "0.2")
    run(job, tmp_path, *resume)
    assert len(losses(tmp_path / "run")) == 6
