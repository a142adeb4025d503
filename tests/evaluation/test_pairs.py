"""`evaluate A+B`: queries by one model, documents by another."""

from pathlib import Path

import numpy as np
import pytest

from lightning_embed import UserError
from lightning_embed.evaluation.pairs import read_names
from tests.evaluation.test_evaluate import beir, cells, evaluate, refused, sts
from tests.toys import toy_folder


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two models of one size, the one of which is the other with some noise, so that their vectors can be compared."""
    from safetensors.torch import load_file, save_file
    from torch import manual_seed, randn_like

    folder = tmp_path_factory.mktemp("models")
    one, other = toy_folder(folder / "one"), toy_folder(folder / "other")
    file, _ = other / "model.safetensors", manual_seed(0)
    save_file({n: w + 0.02 * randn_like(w) for n, w in load_file(file).items()}, file, metadata={"format": "pt"})
    return one, other


def test_a_pair_scores_the_queries_of_one_model_against_the_documents_of_the_other(
    models: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from sentence_transformers import SentenceTransformer

    folder = beir(tmp_path / "beir")
    words = (
        f"T={models[0]}",
        f"S={models[1]}",
        "S+T",
        "T+S",
        "--tasks",
        folder,
        "--dims",
        16,
        "--precisions",
        "float32",
    )
    report = evaluate(tmp_path, *words, "int8", "binary", "binary_rescore")
    assert [model["name"] for model in report["models"]] == ["T", "S", "S+T", "T+S"]
    assert [model["pair"] for model in report["models"]] == [False, False, True, True]
    assert len(cells(report, 2)) == 8  # 32 and 16 dims, four precisions
    lines = {name: (folder / f"{name}.jsonl").read_text().splitlines() for name in ("corpus", "queries")}
    import json

    texts = {name: [json.loads(line)["text"] for line in some] for name, some in lines.items()}
    teacher, student = (SentenceTransformer(str(model), device="cpu") for model in models)
    for place, (asks, holds) in {2: (student, teacher), 3: (teacher, student)}.items():
        scores = (
            asks.encode(texts["queries"], normalize_embeddings=True)
            @ holds.encode(texts["corpus"], normalize_embeddings=True).T
        )
        ranks = 1 + (scores > scores[range(20), range(20)][:, None]).sum(axis=1)
        wanted = float(np.where(ranks <= 10, 1 / np.log2(1 + ranks), 0).mean())
        assert cells(report, place)[32, "float32"]["beir"] == pytest.approx(wanted, abs=1e-4)
        own = (
            teacher.encode(texts["queries"], normalize_embeddings=True)
            @ teacher.encode(texts["corpus"], normalize_embeddings=True).T
        )
        top = [set(np.argsort(-row)[:10]) for row in own]
        both = np.mean([len(a & set(np.argsort(-row)[:10])) for a, row in zip(top, scores, strict=True)])
        assert report["overlaps"][place - 1]["found"] == pytest.approx(both, abs=0.051)
    assert {c["model"] for c in report["comparisons"]} == {"S", "S+T", "T+S"}
    said, page = capsys.readouterr().out, (tmp_path / "out/report.md").read_text()
    assert "of T's top 10 documents" in said and "of T's top 10 documents" in page
    assert "A+B: queries by A, documents by B." in page


def test_the_halves_of_a_pair_are_encoded_once_for_all_rows(
    models: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--tasks", beir(tmp_path / "beir"), "--dims", 32, "--precisions", "float32")
    evaluate(tmp_path, f"T={models[0]}", f"S={models[1]}", "S+T", "T+S", *words)
    assert "160 texts were encoded" in capsys.readouterr().out
    evaluate(tmp_path, f"only={models[0]}+{models[1]}", *words)
    assert "\n0 texts were encoded" in capsys.readouterr().out


def test_models_that_cannot_be_paired_are_refused_in_one_line(
    models: tuple[Path, Path], teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = beir(tmp_path / "beir")
    said = refused(tmp_path, capsys, f"T={teacher}", f"S={models[0]}", "S+T", "--tasks", task)
    assert "model 'S+T': 'S' gives vectors of 32 dims and 'T' of 48" in said and "export --space teacher" in said
    said = refused(
        tmp_path, capsys, f"T={models[1]}", f"S={models[0]}", "S+T", "--tasks", task, sts(tmp_path / "s.jsonl")
    )
    assert "a pair embeds queries and documents, and task s (STS) has none" in said
    assert "expected A+B" in refused(tmp_path, capsys, f"{models[0]}+", "--tasks", task)


def test_a_plus_in_a_path_or_a_name_is_no_pair(tmp_path: Path) -> None:
    plus = tmp_path / "c++"
    plus.mkdir()
    assert read_names([str(plus), "a+b=x"]) == {"c++": (str(plus),), "a+b": ("x",)}
    assert read_names([f"{plus}+x"]) == {"c+++x": (str(plus), "x")}
    assert read_names(["big=pip:one", "both=small+big"]) == {"big": ("pip:one",), "both": ("small", "pip:one")}
    with pytest.raises(UserError, match="two are called 'x'"):
        read_names(["x=a", "x=b"])
