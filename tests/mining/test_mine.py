"""What a user of `mine` types, and what they get back."""

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from lightning_embed.__main__ import main
from lightning_embed.datamodules.collate import text_batch
from lightning_embed.datamodules.plan import Step
from lightning_embed.datamodules.sources import Source
from lightning_embed.datamodules.sources.opening import open_source
from lightning_embed.encoders.teacher import FrozenEncoder
from lightning_embed.errors import UserError
from lightning_embed.mining.rules import Rules
from lightning_embed.mining.run import mine
from lightning_embed.mining.settings import BadRowSettings, OutputSettings, SearchSettings, WorkSettings
from tests.mining.commands import lines, mined, near_pairs, words
from tests.toys import toy_folder, toy_pairs


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line with which a command is refused."""
    with pytest.raises(SystemExit) as stop:
        main(["mine", *words])
    assert stop.value.code == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    return lines[0]


@pytest.fixture(scope="module")
def theirs(teacher: Path) -> Any:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    return SentenceTransformer(modules=[Transformer(str(teacher)), Pooling(48, "mean")], device="cpu")


@pytest.mark.parametrize(
    "settings",
    [
        {"relative_margin": 0.05},
        {"relative_margin": 0.02, "range_min": 2, "num_negatives": 5},
        {"relative_margin": None, "absolute_margin": 0.03},
        {"relative_margin": None, "max_score": 0.95, "min_score": 0.8, "range_max": 20},
        {"relative_margin": None},
    ],
)
def test_the_negatives_are_those_of_sentence_transformers(
    teacher: Path, theirs: Any, near: Path, kept: str, tmp_path: Path, settings: dict[str, Any]
) -> None:
    from datasets import Dataset
    from sentence_transformers.util import mine_hard_negatives

    given = {"relative_margin": None, "num_negatives": 3} | settings
    data = Dataset.from_list(near_pairs())
    wanted: dict[tuple[str, str], list[tuple[str, float]]] = {}
    for row in mine_hard_negatives(data, theirs, output_scores=True, verbose=False, **given):
        wanted.setdefault((row["anchor"], row["positive"]), []).append((row["negative"], row["scores"][1]))
    options = [f"--{name}={'null' if value is None else value}" for name, value in given.items()]
    rows = mined(teacher, near, tmp_path / "out.jsonl", *options, "--precision", "float32", "--work", kept)
    assert len(rows) == len({(row["anchor"], row["positive"]) for row in near_pairs()})
    same = 0
    for row in rows:
        found = wanted.get((row["anchor"], row["positive"]), [])
        if row["anchor"] in [text for text, _ in found]:  # an anchor's own text, which ours never gives it
            continue
        assert row["negative"] == [text for text, _ in found]
        assert row["score"][1:] == pytest.approx([score for _, score in found], abs=2e-6)
        same += bool(found)
    assert same > 20


def test_what_is_written_is_read_with_its_scores(teacher: Path, near: Path, kept: str, tmp_path: Path) -> None:
    for name in ("out.jsonl", "out.parquet"):
        rows = mined(teacher, near, tmp_path / name, "--relative_margin", "0.02", "--work", kept)
        opened = open_source(Source(str(tmp_path / name)))
        batch = text_batch(opened, Step(0, np.arange(len(opened)), 0, 0))
        assert batch.negative_counts == [len(row["negative"]) for row in rows] and sum(batch.negative_counts) > 0
        assert batch.texts["negative"] == [text for row in rows for text in row["negative"]]
        assert batch.score["positive"] == [row["score"][0] for row in rows]
        assert batch.score["negative"] == [score for row in rows for score in row["score"][1:]]
        assert not {(r["anchor"], n) for r in rows for n in r["negative"]} & {
            (r["anchor"], r["positive"]) for r in rows
        }
    assert not list(tmp_path.glob(".*"))


def test_the_formats_hold_the_same_negatives(teacher: Path, near: Path, kept: str, tmp_path: Path) -> None:
    def as_(form: str, *words: str, suffix: str = "jsonl") -> list[dict[str, Any]]:
        out = tmp_path / f"{form}{len(words)}.{suffix}"
        return mined(teacher, near, out, "--relative_margin", "0.02", "--work", kept, "--output_format", form, *words)

    whole = as_("n-tuple-scores")
    having = [row for row in whole if row["negative"]]
    triplets = [{k: r[k] for k in ("anchor", "positive")} | {"negative": n} for r in whole for n in r["negative"]]
    assert as_("triplet") == triplets
    assert [row["score"] for row in as_("triplet", "--output_scores", "true")] == [
        [row["score"][0], score] for row in whole for score in row["score"][1:]
    ]
    full = [row for row in whole if len(row["negative"]) == 3]
    tuples = as_("n-tuple", "--output_scores", "true", suffix="parquet")
    assert [[r["negative_1"], r["negative_2"], r["negative_3"]] for r in tuples] == [r["negative"] for r in full]
    assert [row["score"] for row in tuples] == [row["score"] for row in full]
    lists = as_("labeled-list")
    assert [row["documents"] for row in lists] == [[row["positive"], *row["negative"]] for row in having]
    assert lists[0]["labels"] == [1.0] + [0.0] * (len(lists[0]["documents"]) - 1)
    pairs = as_("labeled-pair")
    assert {(r["anchor"], r["positive"]) for r in pairs if r["score"] == 1} == {
        (r["anchor"], r["positive"]) for r in whole
    }
    negatives = {(row["anchor"], text) for row in whole for text in row["negative"]}
    assert {(row["anchor"], row["positive"]) for row in pairs if row["score"] == 0} == negatives
    for form in (
        "triplet0",
        "triplet2",
        "n-tuple-scores0",
        "labeled-pair0",
    ):  # `fit` reads them; its pairs keep their scores
        assert len(open_source(Source(str(tmp_path / f"{form}.jsonl")))) > 0
    with pytest.raises(
        UserError, match="no column is known to be its positive"
    ):  # lists of good and bad documents are for cross-encoders
        open_source(Source(str(tmp_path / "labeled-list0.jsonl")))


def test_yaml_and_the_python_function_take_the_same_settings(
    teacher: Path, near: Path, kept: str, tmp_path: Path
) -> None:
    flat = {"num_negatives": 2, "sampling_strategy": "random", "seed": 5, "index": "flat", "output_format": "triplet"}
    config = {"source": {"path": str(near)}, "teacher": {"model": str(teacher)}, "work": kept, **flat}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(config | {"out": str(tmp_path / "yaml.jsonl")}))
    main(["mine", "--config", str(tmp_path / "mine.yaml"), "--max_bad_share", "0.5"])
    mine(
        Source(str(near)),
        str(tmp_path / "python.jsonl"),
        FrozenEncoder(str(teacher)),
        rules=Rules(num_negatives=2, sampling_strategy="random", seed=5),
        search=SearchSettings(index="flat"),
        output=OutputSettings(output_format="triplet"),
        work=WorkSettings(work=kept),
        bad_rows=BadRowSettings(max_bad_share=0.5),
    )
    written = (tmp_path / "python.jsonl").read_text()
    assert written and written == (tmp_path / "yaml.jsonl").read_text()


def test_fit_learns_the_scores(teacher: Path, student: Path, near: Path, tmp_path: Path) -> None:
    mined(teacher, near, tmp_path / "out.jsonl", "--relative_margin", "0.01")
    job = {
        "model": {
            "class_path": "EmbeddingModule",
            "init_args": {
                "student": {"model": str(student), "dropout": 0.0},
                "losses": {"margin": {"loss": {"class_path": "MarginMSE", "init_args": {"targets": "score"}}}},
                "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.003}},
            },
        },
        "data": {"class_path": "EmbeddingDataModule", "init_args": {"train": [{"path": str(tmp_path / "out.jsonl")}], "num_workers": 0}},
        "trainer": {"max_steps": 24, "log_every_n_steps": 1, "default_root_dir": str(tmp_path / "run"), "enable_progress_bar": False},
    }  # fmt: skip
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(job | {"report": {"enabled": False}}))
    arguments, environment = list(sys.argv), dict(os.environ)
    try:
        main(["fit", "--config", str(tmp_path / "job.yaml"), "--trainer.accelerator", "cpu"])
    finally:
        sys.argv = arguments
        os.environ.clear()
        os.environ.update(environment)
    import pandas

    losses = pandas.read_csv(tmp_path / "run/csv/version_0/metrics.csv")["train/loss"].dropna()
    assert losses.iloc[-3:].mean() < 0.7 * losses.iloc[0]


def test_every_share_and_ten_examples_are_printed(
    teacher: Path, near: Path, kept: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mined(teacher, near, tmp_path / "out.jsonl", "--max_score", "0.95", "--work", kept)
    said = capsys.readouterr().out
    shares = [float(line.split("%")[0]) for line in said.splitlines() if "%  " in line]
    assert sum(shares) == pytest.approx(100, abs=0.3) and len(shares) >= 4
    assert "relative_margin" in said and said.count("  + ") == 10 and "  - " in said


def test_a_label_keeps_texts_apart_and_is_passed_on(teacher: Path, tmp_path: Path) -> None:
    rows = [row | {"label": i % 3} for i, row in enumerate(toy_pairs(60))]
    found = mined(teacher, lines(tmp_path / "rows.jsonl", rows), tmp_path / "out.jsonl", "--relative_margin", "0.0")
    labels: dict[str, set[int]] = {}
    for row in rows:
        labels.setdefault(row["positive"], set()).add(row["label"])
    assert sum(len(row["negative"]) for row in found) > 20
    assert all(row["label"] not in labels[text] for row in found for text in row["negative"])


def test_given_negatives_are_left_out_and_that_is_said(
    teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [row | {"negative": "w198 w197"} for row in toy_pairs(40)]
    found = mined(teacher, lines(tmp_path / "rows.jsonl", rows), tmp_path / "out.jsonl", "--relative_margin", "null")
    assert not any("w198 w197" in row["negative"] for row in found)
    assert "its own negatives are left out" in capsys.readouterr().err


@pytest.mark.slow
def test_a_cross_encoder_scores_the_candidates_anew(teacher: Path, near: Path, tmp_path: Path) -> None:
    from sentence_transformers import CrossEncoder
    from transformers import AutoConfig, AutoModelForSequenceClassification

    folder = toy_folder(tmp_path / "cross", seed=5)
    config = AutoConfig.from_pretrained(folder, num_labels=1)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    rows = mined(teacher, near, tmp_path / "out.jsonl", "--cross_encoder", str(folder), "--relative_margin", "0")
    model = CrossEncoder(str(folder), device="cpu")
    having = [row for row in rows if row["negative"]]
    assert len(having) > 20
    for row in having[:10]:
        scores = model.predict([(row["anchor"], text) for text in [row["positive"], *row["negative"]]])
        assert row["score"] == pytest.approx(scores.tolist(), abs=1e-5)
        assert max(row["score"][1:]) <= row["score"][0]
        assert row["score"][1:] == sorted(row["score"][1:], reverse=True)


def test_an_index_mines_what_exact_search_does_and_says_its_recall(
    teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = lines(tmp_path / "rows.jsonl", toy_pairs(400))
    exact = mined(teacher, source, tmp_path / "exact.jsonl", "--index", "flat")
    assert "encoding documents  0/" in capsys.readouterr().err  # how far it is, in a log too
    for kind in ("ivf", "hnsw"):
        found = mined(teacher, source, tmp_path / f"{kind}.jsonl", "--index", kind, "--recall", "0.99")
        same = np.mean([row == other for row, other in zip(found, exact, strict=True)])
        assert same > 0.9 and "of the true" in capsys.readouterr().out


def test_bad_input_is_named_in_one_line_and_nothing_is_written(
    teacher: Path, near: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.jsonl"
    (tmp_path / "empty.jsonl").write_text("")
    same = lines(tmp_path / "same.jsonl", [{"anchor": f"w{i}", "positive": "w1"} for i in range(5)])
    good = words(teacher, near, out)
    assert "empty.jsonl is empty" in refused(capsys, *words(teacher, tmp_path / "empty.jsonl", out))
    assert "empty.jsonl is empty" in refused(capsys, *good, "--corpus", f"{{path: {tmp_path / 'empty.jsonl'}}}")
    assert "all its positives are the same text" in refused(capsys, *words(teacher, same, out))
    assert "there is no file" in refused(capsys, *words(teacher, tmp_path / "none.jsonl", out))
    assert "no such folder" in refused(capsys, *words(tmp_path / "none", near, out))
    assert "expected a file named *.jsonl or *.parquet" in refused(capsys, *words(teacher, near, tmp_path / "out.csv"))
    assert "num_negatives must be at least 1" in refused(capsys, *good, "--num_negatives", "0")
    assert "max_scor" in refused(capsys, *good, "--max_scor", "1")
    assert "shard must be from 0" in refused(capsys, *good, "--shards", "2", "--shard", "2")
    assert "not one negative was found: most candidates fell to 'max_score'" in refused(
        capsys, *good, "--relative_margin", "null", "--max_score", "-0.99"
    )
    assert "index: ivf" in refused(capsys, *good, "--index", "ivf", "--max_memory_gb", "0.000001")
    assert not out.exists() and not list(tmp_path.glob(".*"))
    out.write_text("mine\n")
    assert "is there already" in refused(capsys, *good) and out.read_text() == "mine\n"
    (tmp_path / "file").write_text("")
    assert "directory" in refused(capsys, *words(teacher, near, tmp_path / "file/out.jsonl"))


def test_a_model_without_weights_or_with_broken_ones_is_named(
    near: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from safetensors.torch import load_file, save_file

    folder = toy_folder(tmp_path / "bare")
    weights = load_file(folder / "model.safetensors")
    weights["embeddings.word_embeddings.weight"][10] = float("nan")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    said = refused(capsys, *words(folder, near, tmp_path / "out.jsonl"))
    assert "is not finite" in said and "w6" in said
    (folder / "model.safetensors").unlink()
    assert "weights were expected as *.safetensors" in refused(capsys, *words(folder, near, tmp_path / "out.jsonl"))
    assert not (tmp_path / "out.jsonl").exists()
