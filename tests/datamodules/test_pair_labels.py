"""A label beside two texts says whether they belong together: no pair of label 0 trains as one that does."""

import json
from pathlib import Path
from typing import Any

import pytest

from lightning_embed import EmbeddingDataModule, Source, UserError
from lightning_embed.datamodules.collate import text_batch
from lightning_embed.datamodules.plan import Plan
from tests.cli.test_fit import config, losses, refused, run
from tests.doctor.jobs import found
from tests.toys import toy_pairs


def labelled(labels: list[Any], name: str = "label") -> list[dict[str, Any]]:
    pairs = toy_pairs(len(labels))
    return [
        {"sentence1": pair["anchor"], "sentence2": pair["positive"], name: label}
        for pair, label in zip(pairs, labels, strict=True)
    ]


def put(folder: Path, rows: list[dict[str, Any]] | str, name: str = "rows.jsonl") -> Path:
    file = folder / name
    file.write_text(rows if isinstance(rows, str) else "".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.fixture
def job(teacher: Path, student: Path, pairs: Path, tmp_path: Path) -> dict[str, Any]:
    settings = config(teacher, student, pairs, tmp_path / "run")
    settings["trainer"]["max_steps"] = 2
    del settings["data"]["init_args"]["test"], settings["data"]["init_args"]["validation"]
    del settings["model"]["init_args"]["projection"], settings["model"]["init_args"]["teacher"]
    return settings


def test_a_label_of_0_and_1_trains_a_loss_of_scores_as_a_score_does(
    job: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    marks = [i % 2 for i in range(32)]
    job["model"]["init_args"]["losses"] = {"cosent": {"loss": "CoSENT"}}
    curves = []
    for name in ("score", "label"):
        job["data"]["init_args"]["train"] = str(put(tmp_path, labelled(marks, name), f"{name}.jsonl"))
        job["trainer"]["default_root_dir"] = str(tmp_path / name)
        run(job, tmp_path, "--report.enabled", "false")
        curves.append(losses(tmp_path / name))
    assert curves[0] == curves[1] and min(curves[0]) > 0
    assert "'label' holds 0 and 1 beside two texts: it is taken as the pair's score" in capsys.readouterr().err


def test_a_loss_that_takes_every_pair_for_one_that_belongs_together_refuses_pairs_of_label_0(
    job: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source: dict[str, Any] = {"path": str(put(tmp_path, labelled([i % 2 for i in range(40)])))}
    job["data"]["init_args"]["train"] = source
    nested = {"class_path": "Matryoshka", "init_args": {"loss": {"class_path": "InfoNCE"}, "dims": [8, 32]}}
    for loss in ("InfoNCE", nested):
        job["model"]["init_args"]["losses"] = {"nce": {"loss": loss}}
        said = refused(job, tmp_path, capsys)
        assert "takes every row for a pair that belongs together, and 20 rows of source 'rows' are labelled 0" in said
    source["filter"] = ["label == 1"]
    run(job, tmp_path, "--report.enabled", "false")
    assert min(losses(tmp_path / "run")) > 0  # the other rows of label 1 count as negatives


@pytest.mark.parametrize(
    ("labels", "scores"),
    [
        ([False, True], [0.0, 1.0]),
        (["0", "1"], [0.0, 1.0]),
        (["True", "False"], [1.0, 0.0]),
        ([0.5, 3.25, 5], [0.5, 3.25, 5.0]),
        ([0, 0], [0.0, 0.0]),
    ],
)
def test_labels_of_two_values_and_graded_ones_are_scores(
    tmp_path: Path, labels: list[Any], scores: list[float]
) -> None:
    (rows,) = EmbeddingDataModule(put(tmp_path, labelled(labels))).rows("train")
    batch = text_batch(rows, Plan((len(rows),), (len(rows),), shuffle=False)[0])
    assert batch.score == {"positive": scores} and not batch.label
    lines = ["sentence1,sentence2,label", *(f"w{i},w1{i},{label}" for i, label in enumerate(labels))]
    (rows,) = EmbeddingDataModule(put(tmp_path, "\n".join(lines), "rows.csv")).rows("train")
    assert text_batch(rows, Plan((len(rows),), (len(rows),), shuffle=False)[0]).score == {"positive": scores}


@pytest.mark.parametrize("labels", [[0, 1, 2], ["entailment", "neutral", "contradiction"], [-1, 0, 1, 2]])
def test_a_few_other_labels_are_refused_until_the_source_says_what_they_are(tmp_path: Path, labels: list[Any]) -> None:
    file = put(tmp_path, labelled(labels * 3))
    with pytest.raises(UserError, match=r"'label' holds .* beside two texts; .*filter: \[\"label == .*classification"):
        EmbeddingDataModule(file).rows("train")
    (chosen,) = EmbeddingDataModule(Source(file, filter=f"label == {labels[1]!r}")).rows("train")
    assert len(chosen) == 3 and "label" not in chosen.columns and "score" not in chosen.columns
    (classes,) = EmbeddingDataModule(Source(file, task="classification")).rows("train")
    assert classes.given.columns["label"] == {"anchor", "positive"} and len(classes) == 3 * len(labels)


def test_many_labels_are_classes_as_before(tmp_path: Path) -> None:
    (rows,) = EmbeddingDataModule(put(tmp_path, labelled([i % 7 for i in range(21)]))).rows("train")
    assert rows.columns["label"] == ["label"] and "score" not in rows.columns


def test_held_out_pairs_of_label_0_are_scored_or_left_out_as_the_task_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = put(tmp_path, labelled([i % 2 for i in range(10)]))
    (rows,) = EmbeddingDataModule(validation=file).rows("validation")
    assert len(rows) == 10 and rows.task == "text-matching"
    (rows,) = EmbeddingDataModule(validation=Source(file, task="retrieval")).rows("validation")
    assert len(rows) == 5 and rows.take([0])["score"] == [1]
    assert "5 pairs of label 0 do not belong together and are left out here" in capsys.readouterr().err


@pytest.mark.parametrize("loss", ["InfoNCE", "GOR"])
def test_scores_that_no_loss_takes_are_spoken_of(
    job: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], loss: str
) -> None:
    job["data"]["init_args"]["train"] = str(put(tmp_path, labelled([i / 32 for i in range(32)], "score")))
    job["model"]["init_args"]["losses"] = {"one": {"loss": loss}}
    said = "source 'rows' has scores, and no loss takes them: rows of low scores train like those of high ones"
    run(job, tmp_path, "--report.enabled", "false")
    assert f"note: {said}" in capsys.readouterr().err
    assert [line for line in found(job, tmp_path)["warnings"] if line.startswith(said)]
    job["model"]["init_args"]["losses"]["cosent"] = {"loss": "CoSENT"}
    assert not [line for line in found(job, tmp_path)["warnings"] if line.startswith(said)]


def flag_embedding(rows: int, apart: bool) -> list[dict[str, Any]]:
    """Rows of two positives and one or two negatives; scores apart, as FlagEmbedding has them, or in one list."""
    made = []
    for i, pair in enumerate(toy_pairs(rows)):
        texts: dict[str, Any] = {
            "query": pair["anchor"],
            "pos": [pair["positive"]],
            "neg": [f"w{i} w9", "w8"][: 1 + i % 2],
        }
        high, low = [0.9 - i / 100], [0.3, 0.1][: 1 + i % 2]
        made.append(texts | ({"pos_scores": high, "neg_scores": low} if apart else {"score": high + low}))
    return made


@pytest.mark.parametrize("loss", ["KLDistillation", "MarginMSE"])
def test_scores_of_positives_and_negatives_apart_train_as_in_one_list(
    job: dict[str, Any], tmp_path: Path, loss: str
) -> None:
    job["model"]["init_args"]["losses"] = {"one": {"loss": {"class_path": loss, "init_args": {"targets": "score"}}}}
    curves = []
    for name, apart in (("apart", True), ("one", False)):
        job["data"]["init_args"]["train"] = str(put(tmp_path, flag_embedding(32, apart), f"{name}.jsonl"))
        job["trainer"]["default_root_dir"] = str(tmp_path / name)
        run(job, tmp_path, "--report.enabled", "false")
        curves.append(losses(tmp_path / name))
    assert curves[0] == curves[1] and min(curves[0]) > 0


def test_the_score_of_the_positive_that_an_epoch_takes_goes_with_it(tmp_path: Path) -> None:
    row = {"query": "q", "pos": ["p", "r"], "neg": ["n", "m"], "pos_scores": [0.9, 0.8], "neg_scores": [0.1, 0.2]}
    (rows,) = EmbeddingDataModule(put(tmp_path, [row])).rows("train")
    plan = Plan((1,), (1,))
    first, second = text_batch(rows, plan[0]), text_batch(rows, plan[1])
    assert first.texts["positive"] == ["p"] and first.score == {"positive": [0.9], "negative": [0.1, 0.2]}
    assert second.texts["positive"] == ["r"] and second.score == {"positive": [0.8], "negative": [0.1, 0.2]}


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        ({"pos_scores": [0.9], "neg_scores": [0.1]}, "column 'pos_scores': 1 scores for 2 positives"),
        ({"pos_scores": [0.9, 0.8], "neg_scores": [0.1, 0.2]}, "column 'neg_scores': 2 scores for 1 negatives"),
    ],
)
def test_scores_that_are_not_as_many_as_texts_are_named(tmp_path: Path, scores: dict[str, Any], said: str) -> None:
    file = put(tmp_path, [{"query": "q", "pos": ["p", "r"], "neg": ["n"], **scores}])
    with pytest.raises(UserError, match=f"line 1, {said}"):
        EmbeddingDataModule(file).rows("train")
