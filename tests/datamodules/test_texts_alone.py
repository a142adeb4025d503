"""Sources of texts alone: they train whatever needs no positive, alone and beside pairs, and nothing takes them for pairs by mistake."""

import json
from pathlib import Path
from typing import Any

import pandas
import pytest
import torch

from lightning_embed import EmbeddingDataModule, Source, UserError
from tests.cli.test_fit import config, losses, refused, run, start
from tests.toys import toy_pairs

Job = dict[str, Any]


def put(file: Path, rows: list[dict[str, Any]]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    return put(tmp_path / "texts.jsonl", [{"text": row["anchor"]} for row in toy_pairs(64)])


@pytest.fixture
def job(teacher: Path, student: Path, pairs: Path, texts: Path, tmp_path: Path) -> Job:
    """Distils texts alone; validation and test have pairs."""
    job = config(teacher, student, pairs, tmp_path / "run")
    job["data"]["init_args"]["train"] = [{"path": str(texts)}]
    return job


def test_a_student_learns_its_teacher_from_texts_alone(job: Job, tmp_path: Path) -> None:
    job["model"]["init_args"]["projection"] = {"start": "random"}
    run(job, tmp_path, "--trainer.max_steps", "40", "--report.export", "false")
    found = losses(tmp_path / "run")
    assert sum(found[-5:]) / 5 < 0.3 * found[0]
    report = json.loads((tmp_path / "run/report.json").read_text())
    assert report["training"]["rows"] == 640 and report["models"][-1]["grid"]


def test_a_stopped_run_resumes_to_the_same_losses(job: Job, tmp_path: Path) -> None:
    run(job, tmp_path, "--report.enabled", "false", "--trainer.max_steps", "6")
    whole = losses(tmp_path / "run")
    job["trainer"]["default_root_dir"] = str(tmp_path / "parts")
    run(job, tmp_path, "--report.enabled", "false", "--trainer.max_steps", "3")
    run(job, tmp_path, "--report.enabled", "false", "--trainer.max_steps", "6", "--ckpt_path", "last")
    assert losses(tmp_path / "parts") == pytest.approx(whole, rel=1e-6)


def test_texts_and_pairs_train_in_one_run(job: Job, pairs: Path, tmp_path: Path) -> None:
    job["data"]["init_args"] |= {
        "mixture": "round_robin",
        "train": [job["data"]["init_args"]["train"][0], {"path": str(pairs)}],
    }
    job["model"]["init_args"]["losses"] |= {"nce": {"loss": "InfoNCE", "when": "positive"}, "gor": "GOR"}
    run(job, tmp_path, "--report.enabled", "false", "--trainer.max_steps", "4")
    table = pandas.read_csv(tmp_path / "run/csv/version_0/metrics.csv").dropna(subset="train/loss")
    assert table["train/nce"].isna().tolist() == [True, False, True, False] and table["train/gor"].notna().all()


def test_a_loss_of_pairs_over_texts_alone_is_refused_before_the_first_step(
    job: Job, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job["model"]["init_args"]["losses"]["nce"] = {"loss": "InfoNCE"}
    said = refused(job, tmp_path, capsys)
    assert "loss 'nce' (InfoNCE) requires positive, which the batch of source 'texts' lacks" in said


def test_doctor_and_cache_take_texts_alone(job: Job, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job["data"]["init_args"]["teacher_store"] = str(tmp_path / "store")
    run(job, tmp_path, command="doctor")
    assert "texts" in capsys.readouterr().out
    run(job, tmp_path, command="cache")
    capsys.readouterr()
    run(job, tmp_path, "--report.enabled", "false", "--trainer.max_steps", "1")
    assert "192 of 192 texts are stored" in capsys.readouterr().out


@pytest.mark.parametrize(
    "row",
    [
        {"id": 7, "text": "w1 w2"},
        {"anchor": "w1"},
        {"query": "w3 w4", "n": 2},
        {"sentence": "w5"},
        {"id": "x9", "quote": "w6 w7"},
    ],
)
def test_one_column_of_texts_is_enough(tmp_path: Path, row: dict[str, Any]) -> None:
    (rows,) = EmbeddingDataModule(put(tmp_path / "rows.jsonl", [row] * 3)).rows("train")
    assert rows.roles == {"anchor"} and rows.given.roles == {"anchor"}


@pytest.mark.parametrize(
    "row", [{"anchor": "w1", "positve": "w2"}, {"text": "w1", "translation": "w2"}, {"q": "w1", "a": "w2", "c": "w3"}]
)
def test_texts_beside_another_text_are_not_taken_for_texts_alone(tmp_path: Path, row: dict[str, Any]) -> None:
    file = put(tmp_path / "rows.jsonl", [row] * 3)
    with pytest.raises(UserError, match="say which is which") as refused:
        EmbeddingDataModule(file).rows("train")
    alone = "or columns: {anchor: text} for its texts alone"
    assert (alone in str(refused.value)) == ("text" in row)  # where it is clear which column the anchor is
    (rows,) = EmbeddingDataModule(Source(file, columns={"anchor": next(iter(row))})).rows("train")
    assert rows.roles == {"anchor"}


def test_a_corpus_is_texts_alone_title_and_text_joined(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        {"_id": "1", "title": "A", "text": "one "},
        {"_id": "2", "title": "", "text": " "},
        {"_id": "3", "text": "three", "metadata": {"url": "x"}},
    ]
    for path in (
        put(tmp_path / "corpus.jsonl", rows),
        Source(str(put(tmp_path / "docs.jsonl", rows)), format="corpus"),
    ):
        (made,) = EmbeddingDataModule(path).rows("train")
        assert made.roles == {"anchor"} and made.take([0, 1])["anchor"] == ["A one", "three"]
    assert "1 documents of" in capsys.readouterr().err
    (made,) = EmbeddingDataModule(
        Source(str(tmp_path / "corpus.jsonl"), columns={"anchor": "title", "positive": "text"}, filter=["_id == '1'"])
    ).rows("train")
    assert made.roles == {"anchor", "positive"}
    put(tmp_path / "corpus.jsonl", [*rows, {"_id": "4"}])
    with pytest.raises(UserError, match=r"corpus.jsonl, line 4: expected an object with _id and text"):
        EmbeddingDataModule(str(tmp_path / "corpus.jsonl")).rows("train")
    (tmp_path / "other").mkdir()
    pairs = put(tmp_path / "other/corpus.jsonl", [{"anchor": "a", "positive": "b"}] * 2)
    assert EmbeddingDataModule(pairs).rows("train")[0].roles == {"anchor", "positive"}


def scores(folder: Path) -> "pandas.Series[float]":
    """The last logged validation."""
    table = pandas.read_csv(folder / "csv/version_0/metrics.csv")
    return table.dropna(subset="val/score").iloc[-1].filter(like="val/")


@pytest.mark.parametrize("stored", [False, True])
def test_held_out_texts_alone_are_scored_by_their_cosine_with_the_teacher(
    job: Job, texts: Path, tmp_path: Path, stored: bool
) -> None:
    job["data"]["init_args"] |= {"validation": str(texts), "test": str(texts), "teacher_store": str(tmp_path / "store")}
    if stored:
        run(job, tmp_path, command="cache")
    run(job, tmp_path, "--trainer.max_steps", "8", "--report.dims", "[32,8]", "--report.export", "false")
    found = scores(tmp_path / "run")
    assert found["val/score"] == found["val/teacher_cosine"] > 0.3
    from lightning_embed import EmbeddingModule

    module = EmbeddingModule.load_from_checkpoint(tmp_path / "run/checkpoints/last.ckpt", map_location="cpu").eval()
    lone = [json.loads(line)["text"] for line in texts.open()]
    with torch.no_grad():
        student, teacher = (torch.as_tensor(e.encode(lone, "document")) for e in (module.student, module.teacher))
        by_hand = torch.cosine_similarity(*module.projection(student, teacher)).mean()
        short = torch.nn.functional.normalize(student[:, :8], dim=-1)
        of_eight = torch.cosine_similarity(*module.projection(short, teacher)).mean()
    assert found["val/score"] == pytest.approx(float(by_hand), abs=1e-4)
    report = json.loads((tmp_path / "run/report.json").read_text())
    assert report["metric"] == "teacher_cosine"
    teacher_row, before, after = ([row["scores"]["teacher_cosine"] for row in m["grid"]] for m in report["models"])
    assert teacher_row[0] == pytest.approx(1) and 0.2 < before[0] < after[0] == pytest.approx(float(by_hand), abs=1e-4)
    assert after[4] == pytest.approx(float(of_eight), abs=1e-4)
    page = (tmp_path / "run/report.md").read_text()  # the teacher's cosine with itself is nothing to compare with
    assert "**Training took the student's cosine with the teacher from" in page and "of teacher" not in page


def test_the_mean_score_includes_texts_alone(job: Job, texts: Path, pairs: Path, tmp_path: Path) -> None:
    job["data"]["init_args"]["validation"] = [str(texts), str(pairs)]
    run(job, tmp_path, "--report.enabled", "false", "--checkpoint.monitor", "val/texts/teacher_cosine")
    found = scores(tmp_path / "run")
    mains = found["val/texts/teacher_cosine"], found["val/pairs/ndcg@10"]
    assert found["val/score"] == pytest.approx(sum(mains) / 2)
    assert (tmp_path / "run/checkpoints/best.ckpt").exists()


@pytest.mark.parametrize("command", ["fit", "doctor"])
@pytest.mark.parametrize("teacher_is_there", [False, True])
def test_held_out_texts_alone_without_a_loss_of_the_teacher_are_refused(
    job: Job, texts: Path, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str,
    teacher_is_there: bool,
) -> None:  # fmt: skip
    job["model"]["init_args"] |= {"losses": {"nce": "InfoNCE"}, "projection": None}
    if not teacher_is_there:
        job["model"]["init_args"]["teacher"] = None
    job["data"]["init_args"] |= {"train": str(pairs), "validation": str(texts)}
    said = refused(job, tmp_path, capsys, command=command)
    assert (
        "source 'texts': held-out texts alone are scored by their cosine with the teacher's vectors, and no loss"
        in said
    )


def test_a_holdout_of_texts_alone_is_scored(job: Job, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job["data"]["init_args"] |= {"validation": None, "test": None, "holdout": 0.2}
    run(job, tmp_path, "--report.enabled", "false")
    assert "of 64 rows, 6 for validation and 6 for test are held out" in capsys.readouterr().err
    assert scores(tmp_path / "run")["val/teacher_cosine"] > 0


@pytest.mark.slow
def test_two_ranks_give_the_losses_of_one(job: Job, tmp_path: Path) -> None:
    run(job, tmp_path, "--report.enabled", "false")
    alone = losses(tmp_path / "run")
    job["trainer"] |= {"default_root_dir": str(tmp_path / "two"), "devices": 2, "strategy": "ddp"}
    process = start(job, tmp_path, "--report.enabled", "false")
    said, _ = process.communicate()
    assert process.returncode == 0, said
    assert losses(tmp_path / "two") == pytest.approx(alone, rel=1e-4)
