"""What of the data a run leaves out is counted and told; what a loss could never learn from is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_fit import config, losses, refused, run
from tests.doctor.jobs import found
from tests.toys import toy_pairs


@pytest.fixture
def job(student: Path, pairs: Path, tmp_path: Path) -> dict[str, Any]:
    settings = config(student, student, pairs, tmp_path / "run")
    del settings["data"]["init_args"]["test"], settings["data"]["init_args"]["validation"]
    del settings["model"]["init_args"]["projection"], settings["model"]["init_args"]["teacher"]
    settings["model"]["init_args"]["losses"] = {"nce": {"loss": "InfoNCE"}}
    return settings


def train_on(job: dict[str, Any], folder: Path, rows: list[dict[str, Any]], **settings: Any) -> None:
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    job["data"]["init_args"]["train"] = {"path": str(file), **settings}


def report(folder: Path) -> list[str]:
    return json.loads((folder / "run/report.json").read_text())["notes"]


def test_rows_that_no_duplicates_leaves_out_are_told_by_fit_the_report_and_doctor(
    job: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train_on(job, tmp_path, [row | {"positive": f"w1{i % 4} w5"} for i, row in enumerate(toy_pairs(64))])
    job["data"]["init_args"]["no_duplicates"] = True  # of 16 rows a batch, 4 have different positives
    run(job, tmp_path, "--report.export", "false")
    said = capsys.readouterr().err
    assert "no_duplicates leaves out 75 % of its rows (of its first 4 batches)" in said
    assert "its steps have about 4 rows in place of 16" in said
    assert "no_duplicates left out 48 of 64 rows, which had a text of another row of their batch." in report(tmp_path)
    told = found(job, tmp_path)
    assert told["batches"][0]["no_batch"] == 0.75 and told["batches"][0]["rows"] == 4
    assert [line for line in told["warnings"] if "no_duplicates leaves out 75 % of its rows" in line]


def test_nothing_is_told_where_no_duplicates_finds_a_batch_for_every_row(
    job: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train_on(job, tmp_path, toy_pairs(64))
    job["data"]["init_args"]["no_duplicates"] = True
    run(job, tmp_path, "--report.export", "false")
    assert "leaves out" not in capsys.readouterr().err and not [line for line in report(tmp_path) if "left out" in line]


LISTS: dict[str, list[Any]] = {"empty": [], "blank": ["", " "], "none": None}  # type: ignore[dict-item]


@pytest.mark.parametrize("kind", LISTS)
@pytest.mark.parametrize("loss", ["MarginMSE", "KLDistillation"])
def test_a_loss_over_negatives_that_are_all_empty_is_refused(
    job: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], loss: str, kind: str
) -> None:
    rows = [row | {"negative": LISTS[kind], "score": [0.5]} for row in toy_pairs(32)]
    train_on(job, tmp_path, rows)
    run(job, tmp_path, "--report.enabled", "false")
    assert "source 'rows': no row has a negative (column negative)" in capsys.readouterr().err
    assert min(losses(tmp_path / "run")) > 0  # InfoNCE learns from the other rows
    job["model"]["init_args"]["losses"] = {"one": {"loss": {"class_path": loss, "init_args": {"targets": "score"}}}}
    said = refused(job, tmp_path, capsys)
    assert f"loss 'one' ({loss}) requires negative, which the batch of source 'rows' lacks" in said


def test_rows_without_negatives_are_counted_where_a_loss_learns_from_negatives_alone(
    job: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        row | {"negative": ["w9"] if i % 4 else [], "score": [0.9, 0.1][: 1 + bool(i % 4)]}
        for i, row in enumerate(toy_pairs(32))
    ]
    train_on(job, tmp_path, rows)
    margin = {"loss": {"class_path": "MarginMSE", "init_args": {"targets": "score"}}}
    job["model"]["init_args"]["losses"] = {"nce": {"loss": "InfoNCE"}, "margin": margin}
    said = "source 'rows': 8 of 32 rows have no negative, and margin learns nothing from them"
    run(job, tmp_path, "--report.export", "false")
    assert f"note: {said}" in capsys.readouterr().err
    assert "rows: 8 of 32 rows have no negative." in report(tmp_path)
    told = found(job, tmp_path)
    assert told["sources"][0]["without_negatives"] == 8 and [line for line in told["warnings"] if line.startswith(said)]


def test_rows_that_a_filter_leaves_out_are_counted(
    job: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train_on(job, tmp_path, [row | {"year": i} for i, row in enumerate(toy_pairs(40))], filter=["year >= 8"])
    run(job, tmp_path, "--report.export", "false")
    assert "source 'rows': 8 rows do not meet its filter; 32 are left" in capsys.readouterr().err
    assert "rows: 8 rows do not meet the filter and are left out." in report(tmp_path)
    assert found(job, tmp_path)["sources"][0]["not_taken"] == {"do not meet the filter": 8}
    assert "left out: 8 rows that do not meet the filter" in capsys.readouterr().out


HOPELESS: dict[str, tuple[str, dict[str, Any], int, str]] = {
    "one score": ("CoSENT", {"score": 0.5}, 16, "all its scores are the same"),
    "one score, by angle": ("AnglE", {"score": 1}, 16, "all its scores are the same"),
    "one positive": ("InfoNCE", {"positive": "w1 w2"}, 16, "all its positives are the same"),
    "one anchor": ("InfoNCE", {"anchor": "w1 w2"}, 16, "all its anchors are the same"),
    "one row a batch": ("InfoNCE", {}, 1, "its batches have one row"),
    "one row a batch, orthogonal": ("GOR", {}, 1, "its batches have one row"),
}


@pytest.mark.parametrize("case", HOPELESS)
def test_what_can_never_learn_is_refused(
    job: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    loss, same, batch, why = HOPELESS[case]
    train_on(job, tmp_path, [row | same for row in toy_pairs(32)])
    job["model"]["init_args"]["losses"] = {"one": {"loss": loss}}
    job["data"]["init_args"]["global_batch_size"] = batch
    assert f"nothing can be learnt from source 'rows' by one: {why}" in refused(job, tmp_path, capsys)
    job["model"]["init_args"]["losses"]["two"] = {"loss": "Uniformity"}
    if batch > 1:
        run(job, tmp_path, "--report.enabled", "false")
        assert f"note: source 'rows': loss 'one' learns nothing from it, since {why}" in capsys.readouterr().err


def test_one_row_a_batch_learns_from_negatives_of_its_own(job: dict[str, Any], tmp_path: Path) -> None:
    train_on(job, tmp_path, [row | {"negative": "w7 w8"} for row in toy_pairs(8)])
    job["data"]["init_args"]["global_batch_size"] = 1
    run(job, tmp_path, "--report.enabled", "false")
    assert min(losses(tmp_path / "run")) > 0


def test_no_duplicates_that_leaves_one_row_a_batch_is_refused(
    job: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train_on(
        job,
        tmp_path,
        [
            {"anchor": "w1", "positive": f"w9{i}"} if i % 2 else {"anchor": f"w9{i}", "positive": "w1"}
            for i in range(32)
        ],
    )
    job["data"]["init_args"]["no_duplicates"] = True
    said = "nothing can be learnt from source 'rows' by nce: its batches have one row"
    assert said in refused(job, tmp_path, capsys)
