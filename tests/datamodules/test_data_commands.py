"""What the data's settings do to a run that a user starts."""

import json
from pathlib import Path
from typing import Any

import pytest

from scripts.forked_runs import steps_of
from tests.cli.test_fit import config, refused, run
from tests.toys import toy_pairs

LONG = " ".join(f"w{i}" for i in range(30))


@pytest.fixture
def job(teacher: Path, student: Path, pairs: Path, tmp_path: Path) -> dict[str, Any]:
    settings = config(teacher, student, pairs, tmp_path / "run")
    record = {"class_path": "scripts.forked_runs.Record", "init_args": {"path": str(tmp_path / "steps")}}
    settings["trainer"]["callbacks"] = [record]
    del settings["data"]["init_args"]["test"], settings["data"]["init_args"]["validation"]
    return settings


def written(folder: Path, name: str, rows: list[Any]) -> str:
    file = folder / f"{name}.jsonl"
    file.write_text("".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows))
    return str(file)


def test_a_mixture_trains_each_source_by_its_own_settings(job: dict[str, Any], tmp_path: Path) -> None:
    long = [row | {"positive": f"{row['positive']} {LONG}"} for row in toy_pairs(40)]
    labelled = [{"text": f"w{i} w{i % 3}", "label": i % 3} for i in range(30)]
    job["data"]["init_args"] |= {
        "train": [
            {"path": written(tmp_path, "short", toy_pairs(40)), "weight": 2.0},
            {"path": written(tmp_path, "long", long), "batch_size": 5, "max_length": 9},
            {"path": written(tmp_path, "classes", labelled), "batch_size": 6, "task": "classification", "negatives": 3},
        ],
        "mixture": "weight",
        "num_workers": 1,
    }
    job["model"]["init_args"]["losses"]["nce"] = {"loss": "InfoNCE"}
    job["trainer"]["max_steps"] = 30  # two epochs of 2 + 8 + 5 batches, which the weights deal out as 7 + 4 + 4
    run(job, tmp_path)
    steps = steps_of(tmp_path)
    of = {name: [step for step in steps if step["source"] == name] for name in ("short", "long", "classes")}
    assert {name: len(found) for name, found in of.items()} == {"short": 14, "long": 8, "classes": 8}
    sizes = {name: {len(step["rows"]) for step in found} for name, found in of.items()}
    assert sizes == {"short": {16}, "long": {5}, "classes": {6}}
    report = (tmp_path / "run/report.md").read_text()
    assert "long: 40 texts were longer than max_length 9 and cut" in report and "short:" not in report


def test_bad_rows_are_skipped_counted_and_listed_and_the_rest_trains(
    job: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [*toy_pairs(30), "{broken\n", {"anchor": "w1", "positive": " "}, *toy_pairs(10)]
    job["data"]["init_args"] |= {
        "train": [{"path": written(tmp_path, "rows", rows)}],
        "on_bad_row": "skip",
        "max_bad_share": 0.05,
        "global_batch_size": 10,
    }
    run(job, tmp_path, "--report.enabled", "false")
    listed = [json.loads(line) for line in (tmp_path / "run/bad_rows.jsonl").read_text().splitlines()]
    assert [(row["source"], Path(row["where"]).name, row["column"]) for row in listed] == [
        ("rows", "rows.jsonl, line 31", None),
        ("rows", "rows.jsonl, line 32", "positive"),
    ]
    assert "2 rows cannot be used and are left out" in capsys.readouterr().err
    seen = sorted(row for step in steps_of(tmp_path) for row in step["rows"])
    assert seen == [row for row in range(42) if row not in (30, 31)]


def test_too_many_bad_rows_are_an_error_that_names_the_first(
    job: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [*toy_pairs(97), "{broken\n", "{broken\n"]
    job["data"]["init_args"] |= {"train": [{"path": written(tmp_path, "rows", rows)}], "on_bad_row": "skip"}
    said = refused(job, tmp_path, capsys)
    assert "2 of 99 rows cannot be used, more than max_bad_share 0.01; the first: " in said and "line 98" in said
    assert not (tmp_path / "run/bad_rows.jsonl").exists() and not (tmp_path / "run/checkpoints").exists()


def test_long_documents_in_pieces_train_and_none_is_cut(job: dict[str, Any], tmp_path: Path) -> None:
    rows = [row | {"positive": LONG} for row in toy_pairs(8)]
    source = {"path": written(tmp_path, "rows", rows), "max_length": 12, "long_texts": "chunk"}
    job["data"]["init_args"] |= {"train": [source], "global_batch_size": 8}
    run(job, tmp_path)
    assert len({row for step in steps_of(tmp_path)[:3] for row in step["rows"]}) == 24
    assert "and cut" not in (tmp_path / "run/report.md").read_text()


@pytest.mark.parametrize(
    ("source", "settings", "said"),
    [
        ({"max_length": 1000}, {}, "max_length 1000 is more than the student's"),
        ({"prompts": {"anchor": "qery"}}, {}, "no model has a prompt named qery; known are document, query"),
        ({"prompts": {"query": "query"}}, {}, "prompts: expected anchor, positive, negative, got query"),
        ({"weight": 0}, {}, "weight must be above 0"),
        ({"batch_size": 0}, {}, "batch_size must be at least 1"),
        ({"weight": 2}, {"mixture": "round_robin"}, "round_robin gives every source the same"),
        ({}, {"mixture": "temperature", "mixture_temperature": 0.5}, "mixture_temperature must be at least 1"),
        ({}, {"max_bad_share": 2}, "max_bad_share must be at least 0 and at most 1"),
    ],
)
def test_settings_that_mean_nothing_are_refused(
    job: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], pairs: Path,
    source: dict[str, Any], settings: dict[str, Any], said: str,
) -> None:  # fmt: skip
    job["model"]["init_args"]["student"]["max_length"] = 64
    job["data"]["init_args"] |= {"train": [{"path": str(pairs), **source}, {"path": str(pairs)}], **settings}
    assert said in refused(job, tmp_path, capsys)
