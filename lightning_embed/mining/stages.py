"""The stages of mining: vectors, candidates, a cross-encoder's scores, the choice.

All but the choice are made block by block in the work folder, and resume there.
"""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_embed.datamodules.plan import mix
from lightning_embed.datamodules.sources.files import fingerprint
from lightning_embed.mining import search
from lightning_embed.mining.cross_encoder import Rate
from lightning_embed.mining.output import Mined
from lightning_embed.mining.pairs import Pairs, Texts
from lightning_embed.mining.rules import VERDICTS, Rules, choose, tally
from lightning_embed.mining.vectors import Encoder, encode_block
from lightning_embed.mining.work import Work
from lightning_embed.utils.activity import Count
from lightning_embed.utils.atomic import write_whole

ENCODED, SEARCHED, RATED = 2048, 4096, 64
"""Rows of a block, by stage: what a kill loses is one block."""
MOST_POSITIVES = 100
"""An anchor's positives beyond this number do not lengthen the lists of candidates of all the others."""


@dataclass(frozen=True)
class Candidates:
    """The k nearest documents of each anchor."""

    ids: NDArray[np.int32]
    """(A, k) documents; below 0 where there are fewer."""
    scores: NDArray[np.float32]
    """(A, k)."""
    positive_scores: NDArray[np.float32]
    """(P,) score of each pair."""
    fingerprint: str
    """Fingerprint of everything that they depend on."""


@dataclass(frozen=True)
class Vectors:
    """The vectors of all texts, memory-mapped."""

    anchors: NDArray[Any]
    """(A, D)."""
    documents: NDArray[Any]
    """(C, D)."""
    fingerprint: str
    """What they depend on besides the texts."""


def vectors(work: Work, pairs: Pairs, encoder: Encoder, dtype: str) -> Vectors:
    """The vectors of all documents and anchors; encodes those that are missing.

    Args:
        work: The work folder and this process's share.
        pairs: The anchors, and the documents that are searched.
        encoder: Gives vectors.
        dtype: `float16` or `float32`.
    """
    documents = _encoded(work, "documents", pairs.corpus, encoder, dtype)
    return Vectors(_encoded(work, "anchors", pairs.anchors, encoder, dtype), documents, encoder.fingerprint)


def _encoded(work: Work, name: str, texts: Texts, encoder: Encoder, dtype: str) -> NDArray[Any]:
    key = fingerprint(encoder.fingerprint, texts.identity(), dtype)[:16]
    blocks = work.blocks(f"vectors-{key}", (len(texts), encoder.dim), dtype, ENCODED)
    work.fill(
        blocks, f"encoding {name}", lambda block: encode_block(texts, blocks, block, encoder.embed, encoder.title)
    )
    work.wait(blocks, f"encoding {name}")
    return blocks.array()


def candidates(
    work: Work, pairs: Pairs, vectors: Vectors, k: int, plan: search.IndexPlan, recall: float, last: bool
) -> Candidates | None:
    """The nearest documents of every anchor; searches those that are missing.

    Args:
        work: The work folder and this process's share.
        pairs: The anchors, and the documents that are searched.
        vectors: Of all their texts.
        k: How many are looked for.
        plan: The index.
        recall: The share of the true ones that the index must find.
        last: Whether no stage follows that several processes share.

    Returns:
        None for a process that has nothing more to do.
    """
    anchors, documents = vectors.anchors, vectors.documents
    key = fingerprint(
        vectors.fingerprint,
        pairs.anchors.identity(),
        pairs.corpus.identity(),
        anchors.dtype.name,
        plan.factory,
        k,
        recall,
    )[:16]
    ids = work.blocks(f"nearest-{key}", (len(anchors), k), np.int32, SEARCHED)
    scores = work.blocks(f"scores-{key}", (len(anchors), k), np.float32, SEARCHED)
    if not scores.done().all():
        found = _searcher(work, plan, vectors, k, recall, key)

        def make(block: int) -> None:
            rows = scores.rows(block)
            s, i = found(np.ascontiguousarray(anchors[rows], dtype=np.float32), k)
            ids.write(block, i)
            scores.write(block, s)

        work.fill(scores, "searching", make)
    if last and not work.first:
        return None
    work.wait(scores, "searching")
    positive = np.empty(len(pairs.anchor), dtype=np.float32)
    for start in range(0, len(positive), SEARCHED):
        some = slice(start, start + SEARCHED)
        queries = anchors[pairs.anchor[some]].astype(np.float32)
        positive[some] = search.score(queries, documents, pairs.positive[some, None])[:, 0]
    return Candidates(ids.array(), scores.array(), positive, key)


def _searcher(work: Work, plan: search.IndexPlan, vectors: Vectors, k: int, recall: float, key: str) -> search.Search:
    """Exact search, or an index that the first process builds and measures."""
    anchors, documents = vectors.anchors, vectors.documents
    exact = search.exact(documents)
    if plan.kind == "flat":
        if work.first:
            print(f"search: exact, {len(anchors):,} anchors over {len(documents):,} documents", flush=True)
        return exact
    file, facts = work.folder / f"index-{key}.faiss", work.folder / f"index-{key}.json"
    if work.first and not file.exists():
        with Count("index", len(documents), "documents") as count:
            search.build(plan, documents, file, lambda step, done: count.update(int(done * len(documents)), what=step))
    work.wait_for(file)
    index = search.load(file)
    found = search.approximate(index, documents)
    if work.first and not facts.exists():
        sample = np.unique(np.linspace(0, len(anchors) - 1, search.SAMPLE).astype(np.int64))
        queries = anchors[sample].astype(np.float32)
        width, measured = search.tune(index, plan.kind, found, exact, queries, k, recall)
        write_whole(facts, json.dumps({"width": width, "recall": measured, "sample": len(sample)}))
    work.wait_for(facts)
    known = json.loads(facts.read_text())
    search.set_width(index, plan.kind, known["width"])
    if work.first:
        setting = "nprobe" if plan.kind == "ivf" else "efSearch"
        print(
            f"search: {plan.factory} with {setting} {known['width']}, {len(anchors):,} anchors over {len(documents):,} documents; finds "
            f"{known['recall']:.1%} of the true {k} nearest ({known['sample']} anchors searched exactly too)",
            flush=True,
        )
    return found


def rated(work: Work, pairs: Pairs, found: Candidates, rate: Rate, key: str) -> Candidates | None:
    """The candidates with a cross-encoder's scores; those that cannot be negatives anyway are not scored.

    Args:
        work: The work folder and this process's share.
        pairs: The anchors, and the documents that are searched.
        found: The candidates by the vectors.
        rate: The cross-encoder.
        key: Fingerprint of everything its scores depend on.

    Returns:
        None for a process that has nothing more to do.
    """
    key = fingerprint(found.fingerprint, key)[:16]
    scores = work.blocks(f"rated-{key}", found.ids.shape, np.float32, RATED)
    positive = work.blocks(f"rated-pairs-{key}", (len(pairs.anchor), 1), np.float32, RATED)

    def rate_candidates(block: int) -> None:
        rows = scores.rows(block)
        ids, numbers = found.ids[rows], np.arange(rows.start, rows.stop)
        open_ = (ids >= 0) & ~pairs.belongs(numbers, ids) & ~pairs.same_label(numbers, ids)
        texts = pairs.anchors.take(np.repeat(numbers, open_.sum(axis=1)))
        values = np.full(ids.shape, -np.inf, dtype=np.float32)
        values[open_] = rate(list(zip(texts, pairs.corpus.take(ids[open_]), strict=True)))
        scores.write(block, values)

    def rate_pairs(block: int) -> None:
        rows = positive.rows(block)
        texts = zip(pairs.anchors.take(pairs.anchor[rows]), pairs.corpus.take(pairs.positive[rows]), strict=True)
        positive.write(block, rate(list(texts))[:, None])

    work.fill(positive, "cross-encoder on positives", rate_pairs)
    work.fill(scores, "cross-encoder on candidates", rate_candidates)
    if not work.first:
        return None
    work.wait(positive, "cross-encoder")
    work.wait(scores, "cross-encoder")
    return Candidates(found.ids, scores.array(), positive.array()[:, 0], key)


def choose_all(pairs: Pairs, found: Candidates, rules: Rules, last_rank: int) -> tuple[Mined, NDArray[np.int64]]:
    """Asks the rules about all anchors' candidates; returns the negatives and how many candidates had each of `VERDICTS`.

    Args:
        pairs: The anchors, and the documents that are searched.
        found: The candidates.
        rules: Which candidates may be negatives, and how many are taken.
        last_rank: range_max.
    """
    count = len(pairs.anchors)
    lowest = np.full(count, np.inf, dtype=np.float32)
    np.minimum.at(lowest, pairs.anchor, found.positive_scores)
    negatives = np.full((count, rules.num_negatives), -1, dtype=np.int32)
    scores = np.zeros((count, rules.num_negatives), dtype=np.float32)
    verdicts = np.zeros(len(VERDICTS), dtype=np.int64)
    for start in range(0, count, SEARCHED):
        rows = np.arange(start, min(start + SEARCHED, count))
        ids, values = np.asarray(found.ids[rows]), np.asarray(found.scores[rows])
        draw = mix(pairs.anchors.keys[rows].astype(np.uint64), rules.seed)
        choice = choose(
            rules, values, ids, lowest[rows], pairs.belongs(rows, ids), pairs.same_label(rows, ids), last_rank, draw
        )
        places = np.maximum(choice.places, 0)
        negatives[rows] = np.where(choice.places >= 0, np.take_along_axis(ids, places, 1), -1)
        scores[rows] = np.take_along_axis(values, places, 1)
        verdicts += tally(choice.verdicts)
    return Mined(pairs, negatives, scores, found.positive_scores), verdicts
