"""`init`: what it writes for each kind of data is a job that `doctor` has no complaint about and that `fit` trains."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from lightning_embed.losses import GOR
from lightning_embed.losses.base import LossTerm
from lightning_embed.starting.losses import choose, condition
from lightning_embed.starting.sizes import batch_size, max_length, share_to_hold_out, sizes
from tests.commands import run_words

ROWS = 200


def texts(count: int, seed: int) -> list[str]:
    """Different texts of four to eight words, which the toys' tokenizer knows."""
    draw = np.random.default_rng(seed)
    return [" ".join(f"w{n}" for n in draw.integers(0, 200, draw.integers(4, 9))) for _ in range(count)]


A, B, C = texts(ROWS, 1), texts(ROWS, 2), texts(ROWS, 3)
PAIRS = [{"question": a, "answer": b} for a, b in zip(A, B, strict=True)]
NEGATIVES = [{"query": a, "pos": [b], "neg": [c]} for a, b, c in zip(A, B, C, strict=True)]
SCORED = [{"sentence1": a, "sentence2": b, "score": i % 6} for i, (a, b) in enumerate(zip(A, B, strict=True))]
JUDGED = [row | {"pos_scores": [2.0 + i % 2], "neg_scores": [0.5]} for i, row in enumerate(NEGATIVES)]
LABELLED = [{"text": a, "label": f"class {i % 5}"} for i, a in enumerate(A)]
KINDS: dict[str, tuple[list[dict[str, Any]], str, set[str]]] = {
    "texts": ([{"text": a} for a in A], "texts alone: anchor <- text", {"distill"}),
    "pairs": (PAIRS, "pairs: anchor <- question, positive <- answer", {"distill", "nce", "gor"}),
    "negatives": (NEGATIVES, "pairs with negatives: anchor <- query", {"distill", "nce", "gor"}),
    "scored": (SCORED, "scored pairs: anchor <- sentence1", {"distill", "cosent"}),
    "judged": (JUDGED, "pairs with scored negatives: anchor <- query", {"distill", "nce", "gor", "kl"}),
    "labelled": (LABELLED, "texts with labels: anchor <- text, label <- label", {"distill", "nce"}),
}


def put(file: Path, rows: list[dict[str, Any]]) -> str:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


def beir(folder: Path) -> str:
    put(folder / "corpus.jsonl", [{"_id": f"d{i}", "text": b} for i, b in enumerate(B)])
    put(folder / "queries.jsonl", [{"_id": f"q{i}", "text": a} for i, a in enumerate(A)])
    (folder / "qrels").mkdir()
    for split, numbers in (("train", range(120)), ("dev", range(120, 160)), ("test", range(160, 200))):
        lines = ["query-id\tcorpus-id\tscore", *(f"q{i}\td{i}\t1" for i in numbers)]
        (folder / "qrels" / f"{split}.tsv").write_text("\n".join(lines) + "\n")
    return str(folder)


@pytest.fixture
def init(teacher: Path, tmp_path: Path) -> Callable[..., tuple[Path, dict[str, Any]]]:
    """Runs the command, and returns the file and what it holds."""

    def run(*words: str) -> tuple[Path, dict[str, Any]]:
        out = tmp_path / "job.yaml"
        run_words("init", *words, "--teacher", str(teacher), "--out", str(out))
        return out, yaml.safe_load(out.read_text())

    return run


def check_and_train(job: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`doctor` says that nothing is wrong, and `fit` takes two steps."""
    words = ("--config", str(job), "--trainer.accelerator", "cpu", "--trainer.default_root_dir", str(folder / "run"))
    run_words("doctor", *words)
    assert "nothing wrong" in capsys.readouterr().out
    more = ("--trainer.max_steps", "2", "--trainer.val_check_interval", "2", "--report.enabled", "false")
    run_words("fit", *words, *more, "--data.num_workers", "0", "--trainer.check_val_every_n_epoch", "null")
    assert (folder / "run" / "checkpoints" / "last.ckpt").is_file()


FAST = ("texts", "pairs")


@pytest.mark.parametrize("kind", [k if k in FAST else pytest.param(k, marks=pytest.mark.slow) for k in KINDS])
def test_the_job_for_each_kind_of_rows_is_sound_and_trains(
    kind: str, init: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows, comment, losses = KINDS[kind]
    job, content = init(put(tmp_path / f"{kind}.jsonl", rows))
    assert f"# 200 rows, {comment}" in job.read_text()
    assert set(content["model"]["init_args"]["losses"]) == losses
    assert content["model"]["init_args"]["student"]["layers"] == [1]
    assert content["data"]["init_args"]["holdout"] == 0.1
    check_and_train(job, tmp_path, capsys)


@pytest.mark.slow
def test_a_beir_folder_is_validated_on_its_own_judgements(
    init: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = beir(tmp_path / "beir")
    job, content = init(folder)
    data = content["data"]["init_args"]
    assert data["validation"] == [{"path": folder, "split": "dev"}]
    assert data["test"] == [{"path": folder, "split": "test"}]
    assert "holdout" not in data
    assert "pairs (BEIR folder)" in capsys.readouterr().out
    check_and_train(job, tmp_path, capsys)


def test_several_kinds_train_together_each_by_its_own_losses(
    init: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [put(tmp_path / f"{kind}.jsonl", KINDS[kind][0]) for kind in ("texts", "pairs", "scored", "labelled")]
    job, content = init(*files)
    when = {name: term.get("when") for name, term in content["model"]["init_args"]["losses"].items()}
    assert when == {
        "distill": None,
        "nce": "positive and no score",
        "gor": "positive and no score and no label",
        "cosent": "score",
    }
    words = ("--config", str(job), "--trainer.accelerator", "cpu", "--trainer.default_root_dir", str(tmp_path / "run"))
    run_words("doctor", *words)
    out = capsys.readouterr().out
    assert "no loss" not in out and "requires" not in out  # texts that several sources share are warned of here


def test_a_student_of_another_size_is_trained_whole(
    init: Callable[..., Any], student: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job, content = init(put(tmp_path / "pairs.jsonl", PAIRS), "--student", str(student))
    assert content["model"]["init_args"]["student"] == {"model": str(student), "max_length": 32}
    assert "32 entries to 48" in job.read_text()
    check_and_train(job, tmp_path, capsys)


def test_columns_that_are_given_go_into_the_file_and_so_do_those_taken_by_order(
    init: Callable[..., Any], tmp_path: Path
) -> None:
    named = put(tmp_path / "named.jsonl", [{"x": a, "y": b, "z": c} for a, b, c in zip(A, B, C, strict=True)])
    _, content = init(named, "--columns", "{anchor: x, positive: z}")
    assert content["data"]["init_args"]["train"] == [{"path": named, "columns": {"anchor": "x", "positive": "z"}}]
    ordered = put(tmp_path / "ordered.jsonl", [{"x": a, "y": b} for a, b in zip(A, B, strict=True)])
    _, content = init(ordered, "--overwrite", "true")
    assert content["data"]["init_args"]["train"] == [{"path": ordered, "columns": {"anchor": "x", "positive": "y"}}]


def test_a_file_may_come_with_settings_of_a_source(init: Callable[..., Any], tmp_path: Path) -> None:
    file = tmp_path / "pairs.csv"
    file.write_text("anchor;positive\n" + "".join(f"{a};{b}\n" for a, b in zip(A, B, strict=True)))
    given = {"path": str(file), "delimiter": ";"}
    _, content = init(json.dumps(given))
    assert content["data"]["init_args"]["train"] == [given]


def test_it_prints_what_it_found_and_the_next_three_commands(
    init: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job, _ = init(put(tmp_path / "pairs.jsonl", PAIRS), "--validation", put(tmp_path / "more.jsonl", PAIRS[:50]))
    out = capsys.readouterr().out
    assert "anchor <- question" in out and "losses: distill, nce, gor" in out
    for command in ("doctor", "cache", "fit"):
        assert f"python -m lightning_embed {command} --config {job}" in out


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty; give a file with at least one row"),
        ("PK\x03\x04 not rows", "pairs.jsonl"),
        (
            '{"x": "one", "y": "two", "z": "three", "n": 1}\n',
            "the columns found are x, y, z, n; say which is which, e.g. columns: {anchor: x, positive: y}; here: --columns "
            "'{anchor: x, positive: y}'",
        ),
        (None, "there is no file"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line_and_nothing_is_written(
    content: str | None, message: str, init: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "pairs.jsonl"
    if content is not None:
        file.write_text(content)
    with pytest.raises(SystemExit) as stop:
        init(str(file))
    assert stop.value.code == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1 and errors[0].startswith("error: ") and message in errors[0]
    assert not (tmp_path / "job.yaml").exists()


def test_a_file_that_exists_is_left_alone(
    init: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "job.yaml").write_text("mine")
    with pytest.raises(SystemExit):
        init(put(tmp_path / "pairs.jsonl", PAIRS))
    assert "the file exists; give another one, or --overwrite true" in capsys.readouterr().err
    assert (tmp_path / "job.yaml").read_text() == "mine"


def test_a_condition_takes_its_own_batches_and_no_others() -> None:
    pairs, scored, texts = {"anchor", "positive"}, {"anchor", "positive", "score"}, {"anchor"}
    for taken, others in (([pairs], [scored, texts]), ([scored], [pairs, texts]), ([pairs, scored], [texts])):
        term = LossTerm(GOR(), when=condition(taken, others))
        assert [term.takes(there) for there in (*taken, *others)] == [True] * len(taken) + [False] * len(others)
    assert condition([pairs], []) is None
    assert [(term.weight, term.when) for term in choose({"texts alone": texts})] == [(1.0, None)]


def test_sizes_follow_the_rows() -> None:
    assert [max_length(tokens, 512) for tokens in (1, 32, 33, 900)] == [32, 32, 64, 512]
    assert [batch_size(rows) for rows in (1, 40, 255, 256, 10**6)] == [2, 8, 32, 64, 64]
    assert [share_to_hold_out(rows) for rows in ([39, 5000], [200], [100_000], [10**6, 50])] == [0.0, 0.1, 0.01, 0.1]
    assert sizes([640], 0.0).steps == 100  # no row is read more than 10 times
    assert sizes([64_000], 0.0).steps == 1000
    assert sizes([6_400_000], 0.0).steps == 20_000
    assert sizes([64_000, 64], 0.0).uneven
