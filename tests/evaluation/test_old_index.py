"""`evaluate` with an old index: given vectors as a model, models that search among them, and a linear map to them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lightning_embed import UserError, import_vectors
from lightning_embed.evaluation.mapped import LEAST, fit_map, kept, procrustes, ridge
from lightning_embed.evaluation.pairs import read_names
from lightning_embed.evaluation.stored import MissingVectors, load_stored
from lightning_embed.heads.projection import read_projection
from tests.evaluation.test_evaluate import beir, cells, evaluate, lines, refused, sts
from tests.toys import toy_folder

FAST = ("--dims", 32, "--precisions", "float32")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A model that plays the API, and a smaller one."""
    folder = tmp_path_factory.mktemp("models")
    return toy_folder(folder / "api", hidden=48, seed=1), toy_folder(folder / "small")


@pytest.fixture
def index(tmp_path: Path, models: tuple[Path, Path]) -> Path:
    """A task whose documents' vectors, made by the API, are in the store `api`."""
    folder = beir(tmp_path / "beir", documents=80)
    give(tmp_path, models[0], texts_of(folder / "corpus.jsonl"))
    return folder


def texts_of(file: Path) -> list[str]:
    return [json.loads(line)["text"] for line in file.read_text().splitlines()]


def give(folder: Path, model: Path, texts: list[str], prompt: str = "", name: str = "api") -> None:
    """Imports a model's vectors."""
    from sentence_transformers import SentenceTransformer

    np.save(folder / "v.npy", SentenceTransformer(str(model), device="cpu").encode([prompt + text for text in texts]))
    (folder / "v.txt").write_text("".join(f"{text}\n" for text in texts))
    import_vectors(folder / "v.npy", name, folder / "store", prompt=prompt)


def old_index(tmp_path: Path, *arguments: object) -> dict[str, Any]:
    return evaluate(tmp_path, *arguments, "--teacher_store", tmp_path / "store")


@pytest.mark.slow
def test_a_model_searches_among_given_vectors_as_among_its_own(
    models: tuple[Path, Path], index: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("api=stored:api", f"own={models[0]}", "own+api", "--tasks", index, "--dims", 24)
    report = old_index(tmp_path, *words)
    told = capsys.readouterr()
    assert "note: model api: left out, since not one query of task beir has a stored vector" in told.err
    assert "--import_name api" in told.err and "model api: left out" in (tmp_path / "out/report.md").read_text()
    assert [model["name"] for model in report["models"]] == ["own", "own+api"]
    assert "\n100 texts were encoded" in told.out  # those of `own`: given vectors are not counted, and not kept again
    assert len([*(tmp_path / "cache/embeddings").iterdir()]) == 1
    for cell, scores in cells(report, 0).items():  # a given vector is rounded to float16
        assert cells(report, 1)[cell]["beir"] == pytest.approx(scores["beir"], abs=0.08 if cell[0] == 24 else 0.03)
    (overlap,) = report["overlaps"]
    assert overlap["found"] > 9.5
    give(tmp_path, models[0], texts_of(index / "queries.jsonl"))
    report = old_index(tmp_path, *words)
    assert [model["name"] for model in report["models"]] == ["api", "own", "own+api"]
    assert report["models"][0]["dim"] == 48 and report["models"][0]["parameters"] is None
    assert "\n0 texts were encoded" in capsys.readouterr().out
    assert {(c["baseline"], c["model"]) for c in report["comparisons"]} == {("api", "own"), ("api", "own+api")}
    assert {o["model"]: o["found"] > 9.5 for o in report["overlaps"]} == {"own": True, "own+api": True}


def test_missing_vectors_are_named_in_one_line(
    models: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = beir(tmp_path / "beir", documents=80)
    documents, queries = (texts_of(folder / f"{name}.jsonl") for name in ("corpus", "queries"))
    given = ("--teacher_store", tmp_path / "store", "--tasks", folder, *FAST)
    said = refused(tmp_path, capsys, "api=stored:api", *given)
    assert "stored:api: no vectors were imported under this name" in said and "given are none" in said
    give(tmp_path, models[0], documents[1:], name="part")
    said = refused(tmp_path, capsys, f"own={models[0]}", "own+stored:part", *given)
    assert f"model 'part': task 'beir': the document '{documents[0]}' has no stored vector (1 of 80 have none)" in said
    assert "--import_name part" in said
    give(tmp_path, models[0], documents)
    said = refused(tmp_path, capsys, "stored:api", *given)
    assert "model 'api': task 'beir': the query" in said and "(20 of 20 have none)" in said
    said = refused(tmp_path, capsys, "stored:api", f"own={models[0]}", *given, "--require", "{of_teacher: 0.5}")
    assert "require: the gates compare with the first model" in said and "model api: left out" in said
    give(tmp_path, models[0], queries[:5])
    said = refused(tmp_path, capsys, "stored:api", f"own={models[0]}", *given)
    assert f"the query '{queries[5]}' has no stored vector (15 of 20 have none)" in said
    said = refused(tmp_path, capsys, "stored:api", "--tasks", sts(tmp_path / "sts.jsonl"), *given[:2], *FAST)
    assert "model 'api': task 'sts': the text" in said


def test_queries_that_the_api_read_with_a_prompt_are_found_with_it(
    models: tuple[Path, Path], index: Path, tmp_path: Path
) -> None:
    give(tmp_path, models[0], texts_of(index / "queries.jsonl"), prompt="w1 ")
    words = ("stored:api", "--tasks", index, "--dims", 48, "--precisions", "float32")
    report = old_index(tmp_path, *words, "--stored_prompts", '{query: "w1 "}')
    assert report["models"][0]["grid"][0]["scores"]["beir"] > 0.2


def test_a_text_is_found_without_its_white_space_and_a_blank_one_has_no_vector(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.eye(4, dtype=np.float32)[:2])
    (tmp_path / "v.txt").write_text("a\nb\n")
    import_vectors(tmp_path / "v.npy", "api", tmp_path / "store")
    model = load_stored("api", "api", str(tmp_path / "store"))
    assert np.array_equal(model.embed([" b\n", "a", " "], "document", None), [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]])
    with pytest.raises(MissingVectors, match="the query 'c' has no stored vector"):
        model.embed(["a", "c"], "query", None)
    np.save(tmp_path / "v.npy", np.eye(3, dtype=np.float32)[:2])
    import_vectors(tmp_path / "v.npy", "api", tmp_path / "store")
    with pytest.raises(UserError, match=r"there are vectors of \d and \d dims"):
        load_stored("api", "api", str(tmp_path / "store"))


def unit(vectors: np.ndarray) -> np.ndarray:
    """The vectors, brought to length 1."""
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def random_vectors(count: int, dim: int, seed: int) -> np.ndarray:
    """Of length 1."""
    return unit(np.random.default_rng(seed).normal(size=(count, dim)))


@pytest.mark.parametrize(("small", "large"), [(8, 12), (12, 8)])
def test_procrustes_finds_a_rotation_that_is_there(small: int, large: int) -> None:
    x = random_vectors(100, small, 0)
    basis = np.linalg.qr(np.random.default_rng(1).normal(size=(12, 12)))[0]
    y = x @ basis[:small, :large]
    found = procrustes(x, y)
    assert found.weight.shape == (large, small)
    if small < large:
        assert np.allclose(found(x), y, atol=1e-5) and np.allclose(
            found.weight.T @ found.weight, np.eye(small), atol=1e-5
        )
    else:  # what was cut off y is lost
        assert (found(x) * y).sum(axis=1).mean() > 0.95 * np.linalg.norm(y, axis=1).mean()


def test_ridge_solves_its_normal_equations() -> None:
    x, y = random_vectors(60, 6, 0), random_vectors(60, 9, 1)
    found = ridge(x, y, 0.3)
    centred = x - x.mean(axis=0)
    wanted = np.linalg.solve(centred.T @ centred + 0.3 * np.eye(6), centred.T @ (y - y.mean(axis=0)))
    assert np.allclose(found.weight, wanted.T, atol=1e-5)
    assert np.allclose(found.bias, y.mean(axis=0) - wanted.T @ x.mean(axis=0), atol=1e-5)


def test_the_map_that_keeps_the_most_neighbours_is_chosen() -> None:
    x = random_vectors(300, 12, 0)
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(12, 12)))[0]
    assert fit_map(x, x @ rotation)[1].startswith(("orthogonal Procrustes (best of 7 ridges", "ridge, strength 0.01"))
    stretched = x @ np.diag(np.linspace(0.1, 3, 12)) @ rotation + 0.2
    stretched = unit(stretched)
    found, chosen_by = fit_map(x, stretched)
    assert found.name.startswith("ridge") and "on 60 held-out texts" in chosen_by
    assert kept(found(x), stretched, stretched) > kept(procrustes(x, stretched)(x), stretched, stretched)
    assert kept(x, x, x) == 10


def test_a_mapped_model_is_a_row_like_any_other(
    models: tuple[Path, Path], index: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from sentence_transformers import SentenceTransformer

    corpus, queries = texts_of(index / "corpus.jsonl"), texts_of(index / "queries.jsonl")
    give(tmp_path, models[0], queries)
    texts = lines(tmp_path / "texts.jsonl", [{"text": text} for text in [*queries, *corpus, "never given", " "]])
    words = ("stored:api", f"small={models[1]}", f"map=mapped:api:{models[1]}", "map+api", "--tasks", index)
    report = old_index(tmp_path, *words, *FAST, "--map_texts", texts)
    told = capsys.readouterr()
    assert [(model["name"], model["dim"]) for model in report["models"]] == [
        ("api", 48), ("small", 32), ("map", 48), ("map+api", 48),
    ]  # fmt: skip
    (line,) = [line for line in told.err.splitlines() if line.startswith("note: model map: a linear map of")]
    assert f"fitted on 80 of 101 texts of {texts}: " in line  # neither the queries nor what has no vector
    assert line.removeprefix("note: ") in (tmp_path / "out/report.md").read_text()
    assert "held-out texts" in line and report["notes"] == [line.removeprefix("note: ")]
    assert "\n100 texts were encoded" in told.out  # the map's own texts and rows take those of `small`
    assert cells(report, 3)[48, "float32"]["beir"] > 0.3
    psi, encoder = read_projection(tmp_path / "out/map.safetensors"), SentenceTransformer(str(models[1]), device="cpu")
    queried = encoder.encode(queries, normalize_embeddings=True) @ psi["weight"].numpy().T + psi["bias"].numpy()
    own = SentenceTransformer(str(models[0]), device="cpu").encode(corpus)
    own = unit(unit(own).astype(np.float16).astype(np.float32))  # as they are stored
    scores = unit(queried) @ own.T
    ranks = 1 + (scores > scores[range(20), range(20)][:, None]).sum(axis=1)
    wanted = np.where(ranks <= 10, 1 / np.log2(1 + ranks), 0).mean()
    assert cells(report, 3)[48, "float32"]["beir"] == pytest.approx(wanted, abs=0.01)
    again = old_index(tmp_path, *words, *FAST, "--map_texts", texts)
    assert cells(again, 3) == cells(report, 3) and "\n0 texts were encoded" in capsys.readouterr().out


def test_maps_that_cannot_be_fitted_are_refused_in_one_line(
    models: tuple[Path, Path], index: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("--tasks", index, *FAST, "--teacher_store", tmp_path / "store")
    mapped = f"map=mapped:api:{models[1]}"
    assert "Give --map_texts FILE" in refused(tmp_path, capsys, mapped, *given)
    assert "map_texts: no file" in refused(tmp_path, capsys, mapped, *given, "--map_texts", tmp_path / "none.jsonl")
    texts = lines(tmp_path / "texts.jsonl", [{"text": text} for text in texts_of(index / "corpus.jsonl")[: LEAST - 1]])
    said = refused(tmp_path, capsys, mapped, *given, "--map_texts", texts)
    assert f"a map is fitted on {LEAST} texts or more; of the {LEAST - 1}" in said
    odd = lines(tmp_path / "odd.jsonl", [{"texts": "a"}])
    assert "odd.jsonl, line 1: expected" in refused(tmp_path, capsys, mapped, *given, "--map_texts", odd)
    for spec in ("mapped:api", "mapped::x", "mapped:api:stored:api"):
        assert "expected mapped:STORED:MODEL" in refused(tmp_path, capsys, spec, *given, "--map_texts", texts)
    assert "stored:other: no vectors" in refused(
        tmp_path, capsys, f"mapped:other:{models[1]}", *given, "--map_texts", texts
    )


def test_names_of_given_vectors_and_maps() -> None:
    assert read_names(["stored:voyage", "mapped:voyage:runs/small"]) == {
        "voyage": ("stored:voyage",),
        "mapped-small": ("mapped:voyage:runs/small",),
    }
    assert read_names(["small+stored:voyage"]) == {"small+voyage": ("small", "stored:voyage")}
    assert read_names(["bar=mapped:v:pip:one+stored:v"]) == {"bar": ("mapped:v:pip:one", "stored:v")}
