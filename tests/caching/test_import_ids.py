"""`cache --import` with ids: vectors here, texts there."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lightning_embed import UserError, import_vectors
from lightning_embed.datamodules.teacher_store.store import content_keys

IDS = ["d3", "d1", "d4", "d2"]
ROWS: list[dict[str, Any]] = [
    {"_id": "d1", "title": "Wings", "text": "a slipstream "},
    {"_id": "d2", "title": "", "text": "b"},
    {"id": "d3", "text": "c", "metadata": {}},
    {"_id": "d4", "title": None, "text": "d"},
    {"_id": "d5", "title": "", "text": " "},
]
TEXTS = {"d1": "Wings a slipstream", "d2": "b", "d3": "c", "d4": "d"}


@pytest.fixture
def vectors(tmp_path: Path) -> np.ndarray:
    """Vectors in the order of IDS, in all forms, and the texts in another order; the blank text has none."""
    made = np.random.default_rng(0).normal(size=(4, 8)).astype(np.float32)
    write(tmp_path, made, IDS)
    (tmp_path / "docs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return made


def write(folder: Path, vectors: np.ndarray, ids: list[str]) -> None:
    np.save(folder / "v.npy", vectors)
    np.save(folder / "ids.npy", np.array(ids))
    (folder / "ids.txt").write_text("".join(f"{name}\n" for name in ids))
    pq.write_table(pa.table({"name": ids, "vector": vectors.tolist()}), folder / "v.parquet")


def load(folder: Path, file: str = "v.npy", **more: str) -> Any:
    more = {key: str(folder / value) if key in ("texts", "ids") else value for key, value in more.items()}
    return import_vectors(folder / file, "voyage", folder / "store", **more)  # type: ignore[arg-type]


FORMS = {
    "npy and txt": ("v.npy", {"ids": "ids.txt"}),
    "npy and npy": ("v.npy", {"ids": "ids.npy"}),
    "parquet": ("v.parquet", {"id": "name"}),
}


@pytest.mark.parametrize("form", FORMS)
def test_each_vector_is_stored_for_the_text_of_its_id(vectors: np.ndarray, tmp_path: Path, form: str) -> None:
    file, more = FORMS[form]
    store, new = load(tmp_path, file, texts="docs.jsonl", **more)
    assert (new, len(store)) == (4, 4)
    found, there = store.find(content_keys([TEXTS[name] for name in IDS]))
    assert there.all()
    assert np.allclose(found, vectors / np.linalg.norm(vectors, axis=1, keepdims=True), atol=1e-3)


def test_ids_may_be_numbers(vectors: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "numbers.npy", np.array([3, 1, 4, 2]))
    rows = [{"_id": number, "text": f"text {number}"} for number in range(1, 5)]
    (tmp_path / "docs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    store, _ = load(tmp_path, ids="numbers.npy", texts="docs.jsonl")
    (found,), there = store.find(content_keys(["text 1"]))
    assert there.all() and np.allclose(found, vectors[1] / np.linalg.norm(vectors[1]), atol=1e-3)
    pq.write_table(pa.table({"name": [3, 1, 4, 2], "vector": vectors.tolist()}), tmp_path / "v.parquet")
    assert load(tmp_path, "v.parquet", id="name", texts="docs.jsonl")[1] == 0


def test_the_texts_of_a_corpus_in_the_order_of_the_vectors_need_no_ids(vectors: np.ndarray, tmp_path: Path) -> None:
    rows = [{"_id": name, "title": "T", "text": name} for name in IDS]
    (tmp_path / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    store, _ = load(tmp_path, texts="corpus.jsonl")
    assert store.has(content_keys(["T d1"])).all()


def test_ids_and_texts_that_do_not_belong_together_are_named_in_one_line(vectors: np.ndarray, tmp_path: Path) -> None:
    def refused(file: str = "v.npy", texts: str = "docs.jsonl", **more: str) -> str:
        with pytest.raises(UserError) as error:
            load(tmp_path, file, texts=texts, **(more or {"ids": "ids.txt"}))
        assert "\n" not in str(error.value) and not (tmp_path / "store").exists()
        return str(error.value).replace(f"{tmp_path}/", "")

    write(tmp_path, vectors, ["d3", "d1", "d9", "d2"])
    assert refused() == "v.npy, row 3: the id 'd9' has no text in docs.jsonl (1 of 4 ids have none)"
    write(tmp_path, vectors[:3], ["d3", "d1", "d2"])
    assert refused() == (
        "docs.jsonl, line 4: the id 'd4' has no vector in v.npy (1 of 5 texts have none); leave such lines out"
    )
    write(tmp_path, vectors, ["d3", "d1", "d4", "d1"])
    assert refused() == "v.npy, row 4: the id 'd1' appears twice, first in row 2"
    assert refused("v.parquet", id="name") == "v.parquet, row 4: the id 'd1' appears twice, first in row 2"
    write(tmp_path, vectors, IDS)
    (tmp_path / "twice.jsonl").write_text('{"_id": "d1", "text": "a"}\n' * 2)
    assert refused(texts="twice.jsonl") == "twice.jsonl, line 2: the id 'd1' appears twice, first in line 1"
    (tmp_path / "odd.jsonl").write_text('{"_id": "d1"}\n')
    assert refused(texts="odd.jsonl") == "odd.jsonl, line 1: expected an object with _id and text"
    (tmp_path / "ids.txt").write_text("d1\nd2\n")
    assert "v.npy has 4 vectors, but ids.txt has 2 ids" in refused(texts="few.jsonl") if few(tmp_path) else True
    write(tmp_path, np.where(np.arange(4)[:, None] == 2, np.nan, vectors), IDS)
    assert refused() == "v.npy, row 3 (id 'd4'): expected a vector of numbers that are not all zero"
    pq.write_table(
        pa.table({"name": IDS, "vector": [[1.0, 2.0], [1.0], [1.0, 2.0], [1.0, 2.0]]}), tmp_path / "v.parquet"
    )
    assert refused("v.parquet", id="name") == "v.parquet, row 2: expected 2 numbers, got 1 numbers"
    pq.write_table(pa.table({"name": [*IDS[:3], None], "vector": vectors.tolist()}), tmp_path / "v.parquet")
    assert refused("v.parquet", id="name") == "v.parquet, row 4: expected an id in column 'name', got nothing"
    assert "no column 'x'; name one of name, vector by --import_id" in refused("v.parquet", id="x")
    assert "column 'vector' must hold ids" in refused("v.parquet", id="vector")


def few(folder: Path) -> bool:
    """Texts of the two ids of ids.txt."""
    (folder / "few.jsonl").write_text('{"_id": "d1", "text": "a"}\n{"_id": "d2", "text": "b"}\n')
    return True


def test_options_that_do_not_go_together_are_refused(vectors: np.ndarray, tmp_path: Path) -> None:
    for file, more, told in [
        ("v.npy", {"ids": "ids.txt"}, "--import_texts: give the file with the texts of these ids"),
        ("v.npy", {"id": "name", "texts": "docs.jsonl"}, "--import_id names a column of Parquet"),
        ("v.parquet", {"ids": "ids.txt", "texts": "docs.jsonl"}, "--import_ids is for .npy"),
        ("v.parquet", {"texts": "docs.jsonl"}, "which text belongs to which row"),
        ("v.npy", {"ids": "none.txt", "texts": "docs.jsonl"}, "--import_ids: no file"),
        ("v.npy", {"ids": "docs.jsonl", "texts": "docs.jsonl"}, "--import_ids: expected a file named"),
        ("v.npy", {"ids": "v.npy", "texts": "docs.jsonl"}, "expected \\(n,\\) ids"),
        ("v.npy", {"ids": "ids.txt", "texts": "none.jsonl"}, "--import_texts: no file"),
    ]:
        with pytest.raises(UserError, match=told):
            load(tmp_path, file, **more)


def test_the_command_takes_ids(vectors: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tests.commands import run_words

    file, texts, ids = (str(tmp_path / name) for name in ("v.npy", "docs.jsonl", "ids.txt"))
    words = ("cache", "--import", file, "--import_ids", ids, "--import_texts", texts, "--import_name", "voyage")
    for expected in (4, 0):
        with pytest.raises(SystemExit) as stop:
            run_words(*words, "--data.teacher_store", str(tmp_path / "store"))
        assert stop.value.code == 0 and f"{expected} vectors of 'voyage' imported" in capsys.readouterr().out
