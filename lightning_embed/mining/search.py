"""Nearest neighbours with faiss: exact in blocks read from disk, or by an index that fits the memory it is given.

Whatever finds the candidates, their scores are computed from the vectors themselves; an index decides only which ones are looked at,
and how many of the true ones it finds is measured against exact search on a sample.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lightning_embed.errors import UserError
from lightning_embed.utils.atomic import whole_file

IndexKind = Literal["auto", "flat", "ivf", "hnsw"]
Search = Callable[[NDArray[np.float32], int], tuple[NDArray[np.float32], NDArray[np.int32]]]
"""(n, D) vectors and k -> (n, k) scores, the highest first (equal ones by number), and which documents; -1 where there are fewer."""

FLAT_PAIRS = 20_000_000_000
"""Anchors times documents up to which `auto` searches exactly: minutes on two cores, less than an index takes to train and check."""
READ = 65_536
"""Documents read at a time."""
SAMPLE = 256
"""Anchors on which an index is measured."""
HIGH_RECALL = 0.975
"""Recall from which on `auto` takes HNSW rather than IVF."""
LINKS = 32
"""Neighbours of a node in HNSW."""


@dataclass(frozen=True)
class IndexPlan:
    """Which index is built."""

    kind: str
    """`flat`, `ivf` or `hnsw`."""
    factory: str = ""
    """What faiss's index_factory calls it."""
    trained: int = 0
    """Documents that it is trained on."""
    gb: float = 0.0
    """Memory while it is built, in 10⁹ bytes, as estimated."""


def plan_index(
    kind: IndexKind, anchors: int, documents: int, dim: int, max_memory_gb: float, recall: float = 0.95
) -> IndexPlan:
    """Chooses an index by size and memory.

    `auto` is exact where that takes minutes. Beyond, it takes IVF, or HNSW where such a recall is wanted that IVF is the slower of the
    two; exact search again where neither fits. Vectors have 8 bits a number in an index: the recall of 16 bits at twice the speed.

    Args:
        kind: What was asked for.
        anchors: A.
        documents: C.
        dim: D.
        max_memory_gb: The memory that it may take, in 10⁹ bytes.
        recall: The share of the true nearest that it is to find.

    Raises:
        UserError: If the index asked for does not fit.
    """
    if kind == "flat" or (kind == "auto" and anchors * documents <= FLAT_PAIRS):
        return IndexPlan("flat")
    lists = 1 << round(math.log2(4 * math.sqrt(documents)))
    lists = max(1, min(lists, documents // 39))  # faiss wants 39 documents a list to train on
    trained = min(documents, 40 * lists)
    sample = 4 * dim * trained
    grown = 2 * documents  # what grows by doubling
    ivf = IndexPlan("ivf", f"IVF{lists},SQ8", trained, (sample + grown * (dim + 8) + 4 * lists * dim) / 1e9)
    hnsw = IndexPlan("hnsw", f"HNSW{LINKS},SQ8", trained, (sample + grown * (dim + 8 * LINKS + 24)) / 1e9)
    order = {"ivf": [ivf], "hnsw": [hnsw], "auto": [hnsw, ivf] if recall >= HIGH_RECALL else [ivf]}[kind]
    fitting = [plan for plan in order if plan.gb <= max_memory_gb]
    if fitting or kind == "auto":
        return (fitting or [IndexPlan("flat")])[0]
    raise UserError(
        f"index: {kind} over {documents:,} vectors of {dim} dims needs about {order[0].gb:.1f} GB, more than max_memory_gb "
        f"{max_memory_gb:g}; raise it, or take index: auto"
    )


def exact(vectors: NDArray[Any]) -> Search:
    """Exact search that reads the documents in blocks, so that their number takes no memory.

    Args:
        vectors: (C, D), memory-mapped.
    """
    import faiss

    def search(queries: NDArray[np.float32], k: int) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        best = faiss.ResultHeap(len(queries), k, keep_max=True)
        for start in range(0, len(vectors), READ):
            part = np.ascontiguousarray(vectors[start : start + READ], dtype=np.float32)
            scores, ids = faiss.knn(queries, part, min(k, len(part)), metric=faiss.METRIC_INNER_PRODUCT)
            best.add_result(scores, np.where(ids < 0, ids, ids + start))
        best.finalize()
        return _sorted(np.where(best.I < 0, -np.inf, best.D), best.I)

    return search


def approximate(index: Any, vectors: NDArray[Any]) -> Search:
    """Search by an index, scored by the vectors.

    Args:
        index: A faiss index of the vectors.
        vectors: (C, D), memory-mapped.
    """

    def search(queries: NDArray[np.float32], k: int) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        _, ids = index.search(queries, k + k // 4)  # a few more, since the index knows its vectors only roughly
        scores, ids = _sorted(score(queries, vectors, ids), ids)
        return scores[:, :k], ids[:, :k]

    return search


def score(queries: NDArray[np.float32], vectors: NDArray[Any], ids: NDArray[np.integer]) -> NDArray[np.float32]:
    """(n, k) the inner product of each query with some documents; −∞ where there is none.

    Args:
        queries: (n, D).
        vectors: (C, D), memory-mapped.
        ids: (n, k) documents; below 0: none.
    """
    scores = np.empty(ids.shape, dtype=np.float32)
    step = max(1, (64 << 20) // (4 * vectors.shape[1] * max(1, ids.shape[1])))
    for start in range(0, len(queries), step):
        rows = slice(start, start + step)
        found = vectors[np.maximum(ids[rows], 0)].astype(np.float32)
        scores[rows] = np.matmul(found, queries[rows, :, None])[..., 0]
    scores[ids < 0] = -np.inf
    return scores


def _sorted(scores: NDArray[np.float32], ids: NDArray[np.integer]) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    order = np.lexsort((ids, -scores), axis=1)
    return np.take_along_axis(scores, order, 1), np.take_along_axis(ids, order, 1).astype(np.int32)


def build(plan: IndexPlan, vectors: NDArray[Any], file: Path, report: Callable[[str, float], None]) -> None:
    """Builds an index and writes it to a file, whole or not at all.

    Args:
        plan: Which index.
        vectors: (C, D), memory-mapped.
        file: Where it goes.
        report: Called with what is being done and the share of it that is done.
    """
    import faiss

    report("training the index", 0.0)
    index: Any = faiss.index_factory(vectors.shape[1], plan.factory, faiss.METRIC_INNER_PRODUCT)
    if plan.kind == "ivf":
        index.cp.spherical = True
    chosen = np.sort(np.random.default_rng(0).choice(len(vectors), plan.trained, replace=False))
    index.train(np.ascontiguousarray(vectors[chosen], dtype=np.float32))
    for start in range(0, len(vectors), READ // 4):
        report("filling the index", start / len(vectors))
        index.add(np.ascontiguousarray(vectors[start : start + READ // 4], dtype=np.float32))
    with whole_file(file) as partial:
        faiss.write_index(index, str(partial))


def load(file: Path) -> Any:
    """An index from its file; the lists of an IVF index stay there, memory-mapped, and are shared by all processes.

    Args:
        file: What `build` wrote.
    """
    import faiss

    return faiss.read_index(str(file), faiss.IO_FLAG_MMAP)


def tune(
    index: Any, kind: str, search: Search, truth: Search, queries: NDArray[np.float32], k: int, wanted: float
) -> tuple[int, float]:
    """Sets how much of an index is looked at: the least, within an eighth, at which the recall on a sample is what is wanted.

    Args:
        index: Changed in place.
        kind: `ivf` or `hnsw`.
        search: Search by it.
        truth: Exact search.
        queries: (n, D) a sample.
        k: Candidates.
        wanted: Share of the true k nearest that are found.

    Returns:
        nprobe or efSearch, and the recall at it.
    """
    true = truth(queries, k)[1]

    def recall_at(width: int) -> float:
        set_width(index, kind, width)
        return recall_of(search(queries, k)[1], true)

    most = index.nlist if kind == "ivf" else max(1024, 8 * k)
    high = 1 if kind == "ivf" else min(most, 1 << math.ceil(math.log2(k)))
    low, recall = 0, recall_at(high)
    while recall < wanted and high < most:
        low, high = high, min(most, 2 * high)
        recall = recall_at(high)
    while high - low > max(1, high // 8) and low > 0:
        middle = (low + high) // 2
        found = recall_at(middle)
        if found >= wanted:
            high, recall = middle, found
        else:
            low = middle
    set_width(index, kind, high)
    return high, recall


def set_width(index: Any, kind: str, width: int) -> None:
    """Sets nprobe or efSearch.

    Args:
        index: Changed in place.
        kind: `ivf` or `hnsw`.
        width: The setting.
    """
    if kind == "ivf":
        index.nprobe = width
    else:
        index.hnsw.efSearch = width


def recall_of(found: NDArray[np.integer], true: NDArray[np.integer]) -> float:
    """The share of the true neighbours that were found.

    Args:
        found: (n, k) numbers.
        true: (n, k) numbers; below 0: none.
    """
    hits = sum(len(np.intersect1d(f, t[t >= 0])) for f, t in zip(found, true, strict=True))
    return hits / max(1, int((true >= 0).sum()))
