"""`python -m lightning_embed evaluate`, on toys: scores, the grid, resuming, comparing, and what a user gets told."""

import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from tests.cli.test_fit import config, run
from tests.toys import WORDS, toy_folder


def words(seed: int, count: int) -> str:
    draw = random.Random(seed)
    return " ".join(draw.choice(WORDS) for _ in range(count))


def lines(path: Path, rows: list[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def beir(folder: Path, documents: int = 60, queries: int = 20) -> Path:
    corpus = [{"_id": f"d{i}", "title": "", "text": words(i, 8)} for i in range(documents)]
    asked = [{"_id": f"q{i}", "text": " ".join(corpus[i]["text"].split()[:5])} for i in range(queries)]
    lines(folder / "corpus.jsonl", corpus)
    lines(folder / "queries.jsonl", asked)
    judged = "".join(f"q{i}\td{i}\t1\n" for i in range(queries))
    (folder / "qrels").mkdir()
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + judged)
    return folder


def sts(path: Path, rows: int = 30) -> Path:
    pairs = []
    for i in range(rows):
        one = words(i, 6).split()
        kept = i % 7
        pairs.append(
            {
                "sentence1": " ".join(one),
                "sentence2": " ".join(one[:kept] + words(900 + i, 6).split()[kept:]),
                "score": kept,
            }
        )
    return lines(path, pairs)


def labelled(path: Path, rows: int = 40, seed: int = 0) -> Path:
    groups = [WORDS[:20], WORDS[20:40], WORDS[40:60]]
    draw = random.Random(seed)
    return lines(
        path,
        [{"text": " ".join(draw.choices(groups[i % 3], k=6)), "label": f"c{i % 3}"} for i in range(rows)],
    )


def evaluate(tmp_path: Path, *arguments: object) -> dict[str, Any]:
    """Runs the command and reads its report."""
    from lightning_embed.__main__ import main

    output = tmp_path / "out"
    words = [str(argument) for argument in arguments]
    main(["evaluate", *words, "--output", str(output), "--cache", str(tmp_path / "cache"), "--device", "cpu"])
    report: dict[str, Any] = json.loads((output / "report.json").read_text())
    return report


def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    with pytest.raises(SystemExit) as stop:
        evaluate(tmp_path, *arguments)
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert stop.value.code == 2 and len(errors) == 1
    assert not (tmp_path / "out" / "report.json").exists()
    return errors[0]


def cells(report: dict, model: int = 0) -> dict[tuple[int, str], dict[str, float]]:
    return {(row["dim"], row["precision"]): row["scores"] for row in report["models"][model]["grid"]}


def test_full_vectors_score_as_mteb_itself_scores_the_folder(tmp_path: Path, student: Path) -> None:
    import mteb
    from sentence_transformers import SentenceTransformer

    from lightning_embed.evaluation.tasks.local import read_tasks

    specs = [
        str(beir(tmp_path / "beir")),
        str(sts(tmp_path / "sts.jsonl")),
        f"sorted=classification:{labelled(tmp_path / 'a.jsonl')},{labelled(tmp_path / 'b.jsonl', seed=1)}",
        f"folds=classification:{labelled(tmp_path / 'c.jsonl', 60)}",
        f"clustering:{tmp_path / 'b.jsonl'}",
    ]
    report = evaluate(tmp_path, student, "--tasks", *specs, "--dims", 32, "--precisions", "float32", "--shots", 4)
    ours = cells(report)[32, "float32"]
    theirs = mteb.evaluate(
        SentenceTransformer(str(student), device="cpu"), read_tasks(specs, shots=4), cache=None, show_progress_bar=False
    )
    for result in theirs.task_results:
        assert ours[result.task_name] == pytest.approx(result.get_score(), abs=1e-6)
    assert ours["mean of tasks"] == pytest.approx(np.mean([ours[task["name"]] for task in report["tasks"]]))
    assert [task["metric"] for task in report["tasks"]] == [
        "ndcg_at_10", "cosine_spearman", "accuracy", "accuracy", "v_measure",
    ]  # fmt: skip


PRECISIONS = ("float32", "int8", "binary", "binary_rescore")


def vector(text: str, dim: int) -> np.ndarray:
    """The sum of a random vector for each word, cut and of unit length."""
    whole = sum(np.random.default_rng(WORDS.index(word)).normal(size=32) for word in text.split())
    return whole[:dim] / np.linalg.norm(whole[:dim])


def test_each_cell_of_the_grid_is_what_a_loop_over_the_vectors_gives(tmp_path: Path) -> None:
    from scipy.stats import spearmanr

    from lightning_embed.evaluation.models import EvaluatedModel
    from lightning_embed.evaluation.tasks.grid import evaluate_grid
    from lightning_embed.evaluation.tasks.local import read_tasks

    folder, pairs = beir(tmp_path / "beir", documents=150), sts(tmp_path / "sts.jsonl")
    model = EvaluatedModel("sums", 32, lambda t, role, prompt: np.float32([vector(x, 32) for x in t]), "0")
    rows = evaluate_grid(model, read_tasks([str(folder), str(pairs)]), [32, 16]).rows
    assert [(row.dim, row.precision) for row in rows] == [(dim, p) for dim in (32, 16) for p in PRECISIONS]
    assert [row.bytes_per_vector for row in rows] == [128, 32, 4, 4, 64, 16, 2, 2]
    found = {(row.dim, row.precision): row.scores for row in rows}
    texts = [json.loads(line)["text"] for line in (folder / "corpus.jsonl").read_text().splitlines()]
    asked = [json.loads(line)["text"] for line in (folder / "queries.jsonl").read_text().splitlines()]
    scored = [json.loads(line) for line in pairs.read_text().splitlines()]
    for dim in (32, 16):
        documents = np.array([vector(text, dim) for text in texts])
        queries = np.array([vector(text, dim) for text in asked])
        low, step = documents.min(0), (documents.max(0) - documents.min(0)) / 255
        restored = low + step * np.floor((documents - low) / step)
        bits = np.where(documents > 0, 1.0, -1.0)
        hamming = np.where(queries > 0, 1.0, -1.0) @ bits.T
        rescored = np.full_like(hamming, -np.inf)
        for q in range(len(queries)):
            candidates = hamming[q] >= np.sort(hamming[q])[::-1][39]
            rescored[q, candidates] = (bits @ queries[q])[candidates]
        cosine_of_restored = queries @ (restored / np.linalg.norm(restored, axis=1, keepdims=True)).T
        expected = dict(zip(PRECISIONS, (queries @ documents.T, cosine_of_restored, hamming, rescored), strict=True))
        for precision, scores in expected.items():
            # Ties may fall either way: the score lies between the best and the worst order of them.
            best = [1 + int((scores[q] > scores[q, q] + 1e-6).sum()) for q in range(len(queries))]
            worst = [int((scores[q] >= scores[q, q] - 1e-6).sum()) for q in range(len(queries))]
            least, most = (
                np.mean([1 / math.log2(1 + r) if r <= 10 else 0.0 for r in ranks]) for ranks in (worst, best)
            )
            assert least - 1e-4 <= found[dim, precision]["beir"] <= most + 1e-4, (dim, precision)
            assert most - least < (0.2 if precision == "binary" else 0.02)
        one, two = (np.array([vector(row[c], dim) > 0 for row in scored]) for c in ("sentence1", "sentence2"))
        correlation = spearmanr((one == two).sum(1), [row["score"] for row in scored])[0]
        assert found[dim, "binary"]["sts"] == pytest.approx(correlation, abs=5e-3)  # ties, within rounding
        assert found[dim, "binary_rescore"]["sts"] == found[dim, "binary"]["sts"]


def test_texts_are_encoded_once_and_never_again(
    tmp_path: Path, student: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = beir(tmp_path / "beir")
    evaluate(tmp_path, student, "--tasks", folder)
    assert "80 texts were encoded" in capsys.readouterr().out
    first = (tmp_path / "out/report.json").read_text()
    evaluate(tmp_path, student, "--tasks", folder)
    assert "\n0 texts were encoded" in capsys.readouterr().out
    assert (tmp_path / "out/report.json").read_text() == first
    with (folder / "corpus.jsonl").open("a") as file:
        file.write(json.dumps({"_id": "new", "title": "", "text": "w1 w2"}) + "\n")
    evaluate(tmp_path, student, "--tasks", folder)
    assert "\n1 texts were encoded" in capsys.readouterr().out


def test_a_stopped_evaluation_goes_on_where_it_was(
    tmp_path: Path, student: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import mteb

    folder = beir(tmp_path / "beir")
    calls: list[str] = []
    real = mteb.evaluate

    def stopping(*arguments: Any, **settings: Any) -> Any:
        calls.append("cell")
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(*arguments, **settings)

    monkeypatch.setattr(mteb, "evaluate", stopping)
    with pytest.raises(SystemExit) as stop:
        evaluate(tmp_path, student, "--tasks", folder, "--dims", 16)
    assert stop.value.code == 130 and "the same command resumes" in capsys.readouterr().err
    done = sorted((tmp_path / "cache/results").rglob("beir.json"))
    assert len(done) == 3
    times = [file.stat().st_mtime_ns for file in done]
    report = evaluate(tmp_path, student, "--tasks", folder, "--dims", 16)
    assert len(cells(report)) == 8 and [file.stat().st_mtime_ns for file in done] == times


def test_a_result_that_was_cut_off_is_made_again(tmp_path: Path, student: Path) -> None:
    folder = beir(tmp_path / "beir")
    first = evaluate(tmp_path, student, "--tasks", folder, "--dims", 16)
    broken = next(file for file in (tmp_path / "cache/results").rglob("beir.json") if "binary" in str(file))
    broken.write_text(broken.read_text()[:40])
    assert cells(evaluate(tmp_path, student, "--tasks", folder, "--dims", 16)) == cells(first)


def test_what_is_required_of_a_model_decides_the_exit_code(
    tmp_path: Path, student: Path, teacher: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (f"a={teacher}", f"b={student}", "--tasks", sts(tmp_path / "sts.jsonl"), "--dims", 32, "--resamples", 200)
    report = evaluate(
        tmp_path, *words, "--require", "{of_teacher: -100, of_teacher_low/sts: -100, int8_of_float: -100}"
    )
    first, second = (model["grid"][0]["scores"]["sts"] for model in report["models"])
    with pytest.raises(SystemExit) as stop:
        evaluate(tmp_path, *words, "--require", f"{{of_teacher: {second / first + 1}, score: 2, of_teacher/none: 0}}")
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert stop.value.code == 3 and f"of_teacher of b is {second / first:.4f}" in line and "score of b is" in line
    assert "of_teacher/none of b was not measured" in line and " of a " not in line
    assert "there is no gate 'speed'" in _refused_gate(tmp_path, capsys, words)


def _refused_gate(tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[object, ...]) -> str:
    with pytest.raises(SystemExit) as stop:
        evaluate(tmp_path, *words, "--require", "{speed: 1}")
    assert stop.value.code == 2
    return capsys.readouterr().err


def test_noise_is_called_noise_and_a_difference_one(
    tmp_path: Path, student: Path, teacher: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from lightning_embed.evaluation.tasks.comparison import compare
    from lightning_embed.evaluation.tasks.items import Items

    draw = np.random.default_rng(0)
    base = draw.random(400)
    gain = draw.normal(0.05, 0.2, 400)
    found = compare(
        "t", ("a", {"x": Items("mean", base.tolist())}), ("b", {"x": Items("mean", (base + gain).tolist())})
    )
    half = 1.96 * gain.std() / 20  # the normal interval of the paired mean
    assert found.difference == pytest.approx(100 * gain.mean())
    assert (found.low, found.high) == pytest.approx((100 * (gain.mean() - half), 100 * (gain.mean() + half)), abs=0.3)
    assert found.verdict == "better"
    nothing = compare("t", ("a", {"x": Items("mean", base.tolist())}), ("b", {"x": Items("mean", base[::-1].tolist())}))
    assert nothing.verdict == "noise" and nothing.difference == pytest.approx(0)

    folder, pairs = beir(tmp_path / "beir"), sts(tmp_path / "sts.jsonl")
    report = evaluate(
        tmp_path, f"a={student}", f"b={teacher}", "--tasks", folder, pairs, "--dims", 32, "--resamples", 200
    )
    compared = {c["task"]: c for c in report["comparisons"]}
    for task in ("beir", "sts"):
        gained = cells(report, 1)[48, "float32"][task] - cells(report)[32, "float32"][task]
        assert compared[task]["difference"] == pytest.approx(100 * gained, abs=0.01)
        assert compared[task]["low"] <= compared[task]["difference"] <= compared[task]["high"]
    assert "paired bootstrap" in capsys.readouterr().out


def test_a_file_of_pairs_is_a_retrieval_task_of_its_positives(
    tmp_path: Path, student: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = beir(tmp_path / "beir", documents=20, queries=20)
    read = {name: [json.loads(line) for line in (folder / f"{name}.jsonl").open()] for name in ("corpus", "queries")}
    rows = [{"anchor": q["text"], "positive": d["text"]} for q, d in zip(read["queries"], read["corpus"], strict=True)]
    pairs = lines(tmp_path / "pairs.jsonl", [*rows, rows[0]])  # a pair that stands twice counts once
    report = evaluate(tmp_path, f"toy={student}", "--tasks", folder, pairs, "--dims", 32)
    scores = cells(report)[32, "float32"]
    assert scores["pairs"] == scores["beir"] < 1
    assert "toy: beir 32 float32  0/8 cells" in capsys.readouterr().err  # how far it is, in a log too


def test_report_picture_and_tensorboard_are_written(tmp_path: Path, student: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    report = evaluate(tmp_path, f"toy={student}", "--tasks", beir(tmp_path / "beir"), sts(tmp_path / "s.jsonl"))
    out = tmp_path / "out"
    assert (
        (out / "report.png").read_bytes()[:4] == b"\x89PNG"
        and (out / "beir.png").is_file()
        and (out / "s.png").is_file()
    )
    page = (out / "report.md").read_text()
    full, cut = cells(report)[32, "float32"]["beir"], cells(report)[32, "binary"]["beir"]
    lost = f"{100 * (cut - full):+.2f}".replace("-", "−")
    assert f"{100 * cut:.2f} ({lost}" in page
    events = EventAccumulator(str(out / "tensorboard/toy"))
    events.Reload()
    assert events.Scalars("beir/float32")[0].value == pytest.approx(100 * full, rel=1e-5)


def test_an_adapter_is_its_base_with_the_adapter_merged(tmp_path: Path, student: Path) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModel

    from lightning_embed.evaluation.models import load_model

    adapted: Any = get_peft_model(AutoModel.from_pretrained(student), LoraConfig(target_modules=["query"]))
    torch.nn.init.normal_(adapted.base_model.model.encoder.layer[0].attention.self.query.lora_B.default.weight)
    adapted.peft_config["default"].base_model_name_or_path = str(student)
    adapted.save_pretrained(tmp_path / "adapter")
    whole: Any = adapted.merge_and_unload()
    whole.save_pretrained(tmp_path / "whole")
    for file in student.glob("tokenizer*"):
        (tmp_path / "whole" / file.name).write_bytes(file.read_bytes())
    models = [load_model(str(path), "cpu") for path in (tmp_path / "adapter", tmp_path / "whole", student)]
    texts = [words(i, 6) for i in range(8)]
    by_adapter, by_whole, by_base = (model.embed(texts, "document", None) for model in models)
    assert by_adapter == pytest.approx(by_whole, abs=1e-5) and np.abs(by_adapter - by_base).max() > 1e-4
    assert len({model.fingerprint for model in models}) == 3


def test_prompts_go_by_role(tmp_path: Path, student: Path) -> None:
    from lightning_embed.encoders.text_encoder import TextEncoder
    from lightning_embed.evaluation.models import load_model
    from lightning_embed.evaluation.tasks.embedding_cache import EmbeddingCache
    from lightning_embed.evaluation.tasks.grid import evaluate_grid
    from lightning_embed.evaluation.tasks.local import read_tasks
    from lightning_embed.export.folder import export_encoder

    export_encoder(TextEncoder(str(student), prompts={"query": "w1 w2", "document": "w3"}), tmp_path / "prompted")
    seen: list[tuple[str, str | None]] = []
    model = load_model(str(tmp_path / "prompted"), "cpu")
    embed = model.embed
    object.__setattr__(model, "embed", lambda t, role, prompt: (seen.append((role, prompt)), embed(t, role, prompt))[1])
    evaluate_grid(model, read_tasks([str(beir(tmp_path / "beir")), str(sts(tmp_path / "s.jsonl"))]), [32], ["float32"])
    assert set(seen) == {("query", "w1 w2"), ("document", "w3"), ("", "w3")}  # texts of STS: as in training
    assert EmbeddingCache(tmp_path / "none").encoded == 0


def test_the_callback_gives_the_grid_of_evaluate_and_leaves_training_alone(
    tmp_path: Path, teacher: Path, student: Path, pairs: Path
) -> None:
    from tests.cli.test_fit import losses

    folder = beir(tmp_path / "beir")
    job = config(teacher, student, pairs, tmp_path / "run")
    job["model"]["init_args"]["student"]["dropout"] = 0.1
    job["trainer"] |= {"val_check_interval": 2, "check_val_every_n_epoch": None}
    job["seed_everything"] = 1
    alone = yaml.safe_load(yaml.safe_dump(job))
    alone["trainer"]["default_root_dir"] = str(tmp_path / "alone")
    grid = {"tasks": [str(folder)], "dims": [16, 32]}
    job["trainer"]["callbacks"] = [{"class_path": "TaskGrid", "init_args": grid}]
    run(alone, tmp_path, "--report.enabled", "false")
    run(job, tmp_path, "--report.enabled", "false")
    assert losses(tmp_path / "run") == losses(tmp_path / "alone")
    import pandas

    table = pandas.read_csv(tmp_path / "run/csv/version_0/metrics.csv").dropna(subset="grid/beir/16/binary")
    report = evaluate(tmp_path, tmp_path / "run/checkpoints/last.ckpt", "--tasks", folder, "--dims", 16)
    for dim, precision in cells(report):
        assert table[f"grid/beir/{dim}/{precision}"].iloc[-1] == pytest.approx(
            cells(report)[dim, precision]["beir"], abs=0.01
        )


def with_corpus(text: str) -> Callable[[Path], object]:
    def make(tmp_path: Path) -> object:
        (beir(tmp_path / "beir") / "corpus.jsonl").write_text(text)
        return tmp_path / "beir"

    return make


def with_judgements(text: str) -> Callable[[Path], object]:
    def make(tmp_path: Path) -> object:
        (beir(tmp_path / "beir") / "qrels/test.tsv").write_text(text)
        return tmp_path / "beir"

    return make


def one_class(tmp_path: Path) -> object:
    return f"clustering:{lines(tmp_path / 'a.jsonl', [{'text': 'w1', 'label': 'c'}, {'text': 'w2', 'label': 'c'}])}"


HEAD = "query-id\tcorpus-id\tscore\n"


@pytest.mark.parametrize(
    ("task", "said"),
    [
        (with_corpus(""), "corpus.jsonl: the file is empty"),
        (with_corpus('{"_id": "d0", "text": "w1"}\n{"_id": "d0", "text": "w2"}\n'), "line 2: the document id 'd0' appears twice"),
        (with_corpus('{"_id": "d0"}\n'), "text not found among _id"),
        (with_corpus("{broken\n"), "corpus.jsonl: expected jsonl"),
        (with_judgements(HEAD), "no query has a relevant document"),
        (with_judgements(HEAD + "q0\td0\t0\n"), "no query has a relevant document"),
        (with_judgements(HEAD + "q0\td0\t1\nq0\tnone\t1\n"), "test.tsv, line 3: the id 'none' is not in corpus.jsonl"),
        (with_judgements(HEAD + "none\td0\t1\n"), "test.tsv, line 2: the id 'none' is not in queries.jsonl"),
        (with_judgements(HEAD + "q0\td0\n"), "test.tsv, line 2: expected query-id, corpus-id and a number"),
        (one_class, "at least two classes are needed, got only 'c'"),
        (lambda p: labelled(p / "a.jsonl"), "classification or clustering?"),
        (lambda p: p / "none.jsonl", "no file or folder"),
        (lambda p: "STSBenchmarc", "did you mean STSBenchmark"),
        (lambda p: f"cluster:{labelled(p / 'a.jsonl')}", "unknown kind 'cluster'"),
        (lambda p: lines(p / "s.jsonl", [{"sentence1": "w1", "sentence2": "w2", "score": 1}] * 3), "two different scores"),
        (lambda p: lines(p / "p.jsonl", [{"anchor": "w1", "positive": "w2"}] * 2), "two different texts are needed"),
        (lambda p: lines(p / "p.jsonl", [{"anchor": "w1", "positive": " "}]), "row 1, column 'positive': expected a text"),
    ],
)  # fmt: skip
def test_bad_tasks_are_named_in_one_line(
    tmp_path: Path, student: Path, capsys: pytest.CaptureFixture[str], task: Callable[[Path], object], said: str
) -> None:
    assert said in refused(tmp_path, capsys, student, "--tasks", task(tmp_path))


def test_queries_without_judgements_are_told_and_left_out(
    tmp_path: Path, student: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = beir(tmp_path / "beir")
    (folder / "qrels/test.tsv").write_text(HEAD + "q0\td0\t1\nq1\td1\t1\n")
    evaluate(tmp_path, student, "--tasks", folder, "--dims", 32)
    assert "18 of 20 queries have no relevant document" in capsys.readouterr().err


def test_bad_models_are_named_in_one_line(tmp_path: Path, student: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from safetensors.torch import load_file, save_file

    task = sts(tmp_path / "s.jsonl")
    bare = toy_folder(tmp_path / "bare")
    weights = load_file(bare / "model.safetensors")
    (bare / "model.safetensors").unlink()
    assert "weights were expected as *.safetensors" in refused(tmp_path, capsys, bare, "--tasks", task)
    key = next(key for key in weights if "word_embeddings" in key)
    weights[key][50:] = float("nan")
    save_file(weights, bare / "model.safetensors", {"format": "pt"})
    assert "the model gives NaN or infinity for" in refused(tmp_path, capsys, bare, "--tasks", task)
    assert "has 32 dims, so give 1 to 32, got 64" in refused(tmp_path, capsys, student, "--tasks", task, "--dims", 64)
    assert "no such folder" in refused(tmp_path, capsys, tmp_path / "none", "--tasks", task)
    assert "two are called 'student'" in refused(tmp_path, capsys, student, student, "--tasks", task)
    text = tmp_path / "x.ckpt"
    text.write_text("no checkpoint")
    (tmp_path / "config.yaml").write_text("{}")
    assert "not a checkpoint that can be read" in refused(tmp_path, capsys, text, "--tasks", task)


def labels(path: Path, *given: str) -> Path:
    return lines(path, [{"text": words(i, 4), "label": label} for i, label in enumerate(given)])


def test_a_fold_in_which_two_of_several_labels_are_tested_is_scored(tmp_path: Path, student: Path) -> None:
    file = labels(tmp_path / "few.jsonl", *"abcabcabcabcabc")
    words = ("--dims", 32, "--precisions", "float32")
    report = evaluate(tmp_path, student, "--tasks", f"classification:{file}", *words)
    assert 0 <= cells(report)[32, "float32"]["few"] <= 1


def test_labels_that_cannot_be_learned_are_refused_or_noted(
    tmp_path: Path, student: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(*given: str) -> str:
        file = labels(tmp_path / f"{''.join(given)[:9]}.jsonl", *given)
        return refused(tmp_path, capsys, student, "--tasks", f"classification:{file}")

    assert "no tested text has a label that a training text has, so accuracy could only be 0" in said(
        *map(str, range(20))
    )
    assert "has training texts of 'a' alone; give more texts a label" in said(*"aaaaaaaaab")
    assert "4 texts are too few for the folds of a cross-validation" in said(*"abab")
    train, test = labels(tmp_path / "train.jsonl", *"abab"), labels(tmp_path / "test.jsonl", *"abbc")
    one = ("--dims", 32, "--precisions", "float32")
    evaluate(tmp_path, student, "--tasks", f"classification:{train},{test}", *one)
    note = "note: task train: 1 of 4 tested texts have a label without a training text, and count as wrong"
    assert note in capsys.readouterr().err


def test_pairs_that_are_all_alike_are_refused_or_noted(
    tmp_path: Path, student: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    same = [{"sentence1": words(i, 4), "sentence2": words(i, 4), "score": i} for i in range(5)]
    said = refused(tmp_path, capsys, student, "--tasks", lines(tmp_path / "same.jsonl", same))
    assert "sentence1 and sentence2 are the same text in each row, so all cosines are 1" in said
    equal = [{"sentence1": "w1", "sentence2": "w2", "score": i} for i in range(5)]
    one = ("--dims", 32, "--precisions", "float32")
    evaluate(tmp_path, f"S={student}", "--tasks", lines(tmp_path / "equal.jsonl", equal), *one)
    note = "note: model S: no score (NaN) of equal: all its pairs have the same cosine"
    assert note in capsys.readouterr().err
