import gzip
import json
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lightning_embed.datamodules.collate import text_batch
from lightning_embed.datamodules.plan import Plan
from lightning_embed.datamodules.sources import Source
from lightning_embed.datamodules.sources.opening import open_source
from lightning_embed.errors import UserError

ROWS = [{"anchor": f"frage {i} ü🙂", "positive": f"antwort {i}"} for i in range(5)]


def written(folder: Path, kind: str) -> Path:
    file = folder / f"rows.{kind}"
    if kind == "jsonl":
        file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS), encoding="utf-8")
    elif kind == "jsonl.gz":
        file.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in ROWS).encode()))
    elif kind in ("csv", "tsv"):
        sep = "," if kind == "csv" else "\t"
        file.write_text("\n".join(sep.join(line) for line in (("anchor", "positive"), *(r.values() for r in ROWS))))
    elif kind == "parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), file)
    else:
        datasets.Dataset.from_list(ROWS).save_to_disk(str(file))
    return file


@pytest.mark.parametrize("kind", ["jsonl", "jsonl.gz", "csv", "tsv", "parquet", "saved"])
def test_every_format_gives_the_same_rows(tmp_path: Path, kind: str) -> None:
    rows = open_source(Source(str(written(tmp_path, kind))))
    assert rows.take([4, 0]) == {"anchor": ["frage 4 ü🙂", "frage 0 ü🙂"], "positive": ["antwort 4", "antwort 0"]}


def opened(tmp_path: Path, *rows: dict, **settings: dict) -> object:
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return open_source(Source(str(file), **settings))


def test_columns_are_named_by_role(tmp_path: Path) -> None:
    rows = opened(tmp_path, {"title": "a", "body": "b", "other": 3}, columns={"anchor": "title", "positive": "body"})
    assert rows.take([0]) == {"anchor": ["a"], "positive": ["b"]}


def test_flag_embedding_rows_and_numbered_negatives_become_ragged_negatives(tmp_path: Path) -> None:
    rows = opened(
        tmp_path, {"query": "q", "pos": ["p0", "p1"], "neg": ["n0", "n1"]}, {"query": "r", "pos": ["s"], "neg": []}
    )
    step = Plan((2,), (2,), shuffle=False)
    first, second = text_batch(rows, step[0]), text_batch(rows, step[1])
    assert first.texts == {"anchor": ["q", "r"], "positive": ["p0", "s"], "negative": ["n0", "n1"]}
    assert first.negative_counts == [2, 0] and second.texts["positive"] == ["p1", "s"]
    numbered = opened(tmp_path, {"anchor": "a", "positive": "p", "negative_1": "x", "negative_2": "y"})
    assert text_batch(numbered, Plan((1,), (1,))[0]).texts["negative"] == ["x", "y"]


def test_scores_of_the_positive_and_the_negatives_are_told_apart(tmp_path: Path) -> None:
    rows = opened(tmp_path, {"anchor": "a", "positive": "p", "negative": ["x", "y"], "score": [0.9, 0.2, 0.1]})
    assert text_batch(rows, Plan((1,), (1,))[0]).score == {"positive": [0.9], "negative": [0.2, 0.1]}


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (
            {"anchor": "a", "positive": "p", "score": "high"},
            "line 1, column 'score': expected a finite number, got 'high'",
        ),
        (
            {"anchor": "a", "positive": "p", "negative": ["x"], "score": [1, 2, 3]},
            "3 scores for 1 positive and 1 negatives",
        ),
    ],
)
def test_bad_scores_are_named(tmp_path: Path, row: dict, said: str) -> None:
    with pytest.raises(UserError, match=said):
        text_batch(opened(tmp_path, row), Plan((1,), (1,))[0])


def test_a_column_that_holds_no_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"column 'positive' \(positive\) must hold text, it holds double"):
        opened(tmp_path, {"anchor": "a", "positive": 3})
