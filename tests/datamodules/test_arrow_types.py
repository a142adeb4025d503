"""Parquet and Arrow files hold texts and numbers in many types: what Arrow can cast is read, the rest is named."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lightning_embed import EmbeddingDataModule, UserError
from lightning_embed.batch import TextBatch
from lightning_embed.datamodules.collate import text_batch
from lightning_embed.datamodules.plan import Plan
from tests.cli.test_fit import config, losses, run
from tests.toys import toy_pairs

A, P = ["a0", "a1", "a2"], ["p0", "p1", "p2"]
N = [["n", "o"], ["m", "k"], ["c", "d"]]


def table(**columns: Any) -> pa.Table:
    return pa.table({"anchor": pa.array(A), "positive": pa.array(P)} | columns)


def written(made: pa.Table, folder: Path, name: str = "rows", form: str = "parquet") -> Path:
    file = folder / f"{name}.{form.removesuffix(' file')}"
    if form == "parquet":
        pq.write_table(made, file)
    elif form == "saved":
        datasets.Dataset(made).save_to_disk(str(file))
    else:
        new = pa.ipc.new_file if form == "arrow file" else pa.ipc.new_stream
        with pa.OSFile(str(file), "wb") as out, new(out, made.schema) as stream:
            stream.write_table(made)
    return file


def whole(path: Path) -> TextBatch:
    """All rows of a source."""
    (rows,) = EmbeddingDataModule(path).rows("train")
    return text_batch(rows, Plan((len(rows),), (len(rows),), shuffle=False)[0])


FORMS = ("parquet", "arrow", "arrow file", "saved")
TEXTS = {
    "large": pa.array(A, pa.large_string()),
    "view": pa.array(A, pa.string_view()),
    "dictionary": pa.array(A).dictionary_encode(),
    "bytes": pa.array([a.encode() for a in A]),
}
SCORES: dict[str, tuple[Any, list[float]]] = {
    "decimals": (pa.array([Decimal("0.50"), Decimal("1.25"), Decimal("2")]), [0.5, 1.25, 2.0]),
    "booleans": (pa.array([True, False, True]), [1.0, 0.0, 1.0]),
    "halves": (pa.array(np.array([0.5, 1, 2], np.float16)), [0.5, 1.0, 2.0]),
    "bytes": (pa.array([1, 2, 255], pa.uint8()), [1.0, 2.0, 255.0]),
}
LISTS = {
    "large": pa.array(N, pa.large_list(pa.large_string())),
    "of a size": pa.array(N, pa.list_(pa.string(), 2)),
    "of dictionaries": pa.array(N, pa.list_(pa.dictionary(pa.int32(), pa.string()))),
    "of views": pa.array(N, pa.list_(pa.string_view())),
    "views": pa.array(N, pa.list_view(pa.string())),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", TEXTS)
def test_texts_of_every_type_are_texts(tmp_path: Path, kind: str, form: str) -> None:
    assert whole(written(table(anchor=TEXTS[kind]), tmp_path, form=form)).texts == {"anchor": A, "positive": P}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", SCORES)
def test_numbers_of_every_type_are_scores(tmp_path: Path, kind: str, form: str) -> None:
    values, scores = SCORES[kind]
    assert whole(written(table(score=values), tmp_path, form=form)).score == {"positive": scores}


@pytest.mark.parametrize(
    ("kind", "form"), [(kind, form) for kind in LISTS for form in FORMS if (kind, form) != ("views", "saved")]
)  # datasets does not save views
def test_lists_of_every_type_are_lists(tmp_path: Path, kind: str, form: str) -> None:
    batch = whole(written(table(negative=LISTS[kind]), tmp_path, form=form))
    assert batch.texts["negative"] == [text for texts in N for text in texts] and batch.negative_counts == [2, 2, 2]


def shards(folder: Path, *made: pa.Table) -> Path:
    for name, one in zip("abc", made, strict=False):
        written(one, folder, name)
    return folder / "*.parquet"


def test_shards_of_other_types_are_one_source(tmp_path: Path) -> None:
    first = table(score=pa.array([1, 2, 3]), negative=pa.nulls(3), label=pa.array([1, 2, 3], pa.int32()))
    second = table(
        anchor=TEXTS["view"], score=pa.array([0.5, 0.25, 0.125]), negative=pa.array(N), label=pa.array([7, 8, 9])
    )
    empty = table(score=pa.array([1, 2, 3])).slice(0, 0)
    batch = whole(shards(tmp_path, first, second, empty))
    assert batch.texts["anchor"] == A + A and batch.score == {"positive": [1.0, 2.0, 3.0, 0.5, 0.25, 0.125]}
    assert batch.negative_counts == [0, 0, 0, 2, 2, 2] and batch.label["anchor"] == [1, 2, 3, 7, 8, 9]


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ([table(label=pa.array([1, 2, 3])), table(label=pa.array(["x", "y", "z"]))],
         r"column 'label' holds string in .*b.parquet and int64 in .*a.parquet; make one source of each"),
        ([table(score=pa.array([1, 2, 3], pa.timestamp("s")))], r"column 'score' \(score\) must hold numbers, it holds timestamp"),
        ([table().slice(0, 0)], r"no rows in .*a.parquet"),
        ([table(anchor=pa.array([b"\xff", b"b", b"c"]))], r"a.parquet, row 1, column 'anchor': expected UTF-8"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_named(tmp_path: Path, made: list[pa.Table], said: str) -> None:
    with pytest.raises(UserError, match=said):
        whole(shards(tmp_path, *made))


def test_scores_that_no_row_has_are_left_out_with_a_note(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert whole(written(table(score=pa.nulls(3)), tmp_path)).score == {}
    assert "column 'score' (score) is empty in all rows: it is not used" in capsys.readouterr().err


def test_a_run_on_odd_types_is_that_on_plain_ones(teacher: Path, student: Path, tmp_path: Path) -> None:
    pairs = toy_pairs(32)
    anchors, positives = ([pair[role] for pair in pairs] for role in ("anchor", "positive"))
    plain = pa.table({"anchor": anchors, "positive": positives, "score": [i / 4 for i in range(32)]})
    odd = pa.table(
        {
            "anchor": pa.array(anchors, pa.string_view()),
            "positive": pa.array(positives).dictionary_encode(),
            "score": pa.array([Decimal(i) / 4 for i in range(32)]),
        }
    )
    curves = []
    for name, made in (("plain", plain), ("odd", odd)):
        job = config(teacher, student, written(made, tmp_path, name), tmp_path / f"run-{name}")
        job["model"]["init_args"]["losses"] = {"cosent": {"loss": "CoSENT"}}
        del job["model"]["init_args"]["projection"]
        run(job, tmp_path, "--report.enabled", "false")
        curves.append(losses(tmp_path / f"run-{name}"))
    assert curves[0] == curves[1] and len(curves[0]) == 4
