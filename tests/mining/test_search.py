from pathlib import Path

import numpy as np
import pytest

from lightning_embed.errors import UserError
from lightning_embed.mining import search
from lightning_embed.mining.blocks import Blocks


def unit(rows: int, dim: int, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((rows, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def naive(queries: np.ndarray, vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    scores = queries @ vectors.astype(np.float32).T
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, order, 1), order


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_exact_search_in_blocks_is_that_of_the_whole_matrix(monkeypatch: pytest.MonkeyPatch, dtype: str) -> None:
    monkeypatch.setattr(search, "READ", 64)
    vectors, queries = unit(1000, 16, 0).astype(dtype), unit(50, 16, 1)
    scores, ids = search.exact(vectors)(queries, 30)
    wanted, order = naive(queries, vectors, 30)
    assert np.array_equal(ids, order) and np.allclose(scores, wanted, atol=1e-6)


def test_fewer_documents_than_asked_leave_places_without_one() -> None:
    scores, ids = search.exact(unit(3, 8, 0))(unit(2, 8, 1), 5)
    assert (ids[:, 3:] == -1).all() and np.isneginf(scores[:, 3:]).all() and sorted(ids[0, :3]) == [0, 1, 2]


def test_equal_scores_come_by_number() -> None:
    vectors = np.repeat(unit(3, 8, 0), 4, axis=0)
    ids = search.exact(vectors)(unit(5, 8, 1), 12)[1]
    assert all((np.diff(row.reshape(3, 4)) == 1).all() for row in ids)


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_an_index_finds_what_is_asked_of_it_and_scores_exactly(tmp_path: Path, kind: str) -> None:
    centres = unit(40, 24, 0)
    vectors = centres[np.arange(4000) % 40] + 0.3 * unit(4000, 24, 1)
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)
    queries = vectors[:100].astype(np.float32)
    plan = search.plan_index(kind, 4000, 4000, 24, 1.0)
    search.build(plan, vectors, tmp_path / "index", lambda said, done: None)
    index = search.load(tmp_path / "index")
    found, exact = search.approximate(index, vectors), search.exact(vectors)
    width, recall = search.tune(index, kind, found, exact, queries, 20, 0.97)
    scores, ids = found(queries, 20)
    true = exact(queries, 20)[1]
    by_hand = np.mean([len(set(a) & set(b)) / 20 for a, b in zip(ids.tolist(), true.tolist(), strict=True)])
    assert recall == pytest.approx(by_hand) and recall >= 0.97
    assert np.allclose(
        scores, np.take_along_axis(queries @ vectors.astype(np.float32).T, ids.astype(int), 1), atol=1e-6
    )
    assert (np.diff(scores) <= 0).all()
    if kind == "ivf":
        assert width < index.nlist
    assert not list(tmp_path.glob(".*"))


def test_the_index_goes_by_size_and_memory() -> None:
    def kind(asked: str, rows: int, dim: int = 384, gb: float = 4.0, recall: float = 0.95) -> str:
        return search.plan_index(asked, rows, rows, dim, gb, recall).kind

    assert kind("auto", 100_000) == "flat"
    assert kind("auto", 1_000_000) == "ivf" and kind("auto", 1_000_000, recall=0.98) == "hnsw"
    assert kind("auto", 1_000_000, gb=1.2, recall=0.98) == "ivf"  # without room for HNSW's links
    assert kind("auto", 1_000_000, gb=0.5) == "flat"  # in blocks: it fits any memory
    assert search.plan_index("ivf", 1_000_000, 1_000_000, 1024, 8.0).gb < 8
    with pytest.raises(UserError, match=r"index: hnsw over 1,000,000 vectors of 2560 dims needs about .* GB"):
        kind("hnsw", 1_000_000, 2560)


def test_blocks_are_made_once_whoever_makes_them(tmp_path: Path) -> None:
    values = np.arange(20, dtype=np.float32).reshape(10, 2)
    one = Blocks(tmp_path / "m", (10, 2), np.float32, 4)
    assert one.count == 3 and one.missing() == [0, 1, 2] and one.missing(1, 2) == [1]
    one.write(1, values[one.rows(1)])
    two = Blocks(tmp_path / "m", (10, 2), np.float32, 4)  # another process, or the next one after a kill
    assert two.missing() == [0, 2] and not two.done().all()
    for block in two.missing():
        two.write(block, values[two.rows(block)])
    assert one.done().all() and np.array_equal(one.array(), values)
