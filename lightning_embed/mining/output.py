"""Writes mined negatives as a source: JSON lines or Parquet, in sentence-transformers' formats."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lightning_embed.batch import ANCHOR, NEGATIVE, POSITIVE
from lightning_embed.datamodules.sources.columns import DOCUMENT, LABEL, SCORE
from lightning_embed.errors import UserError
from lightning_embed.mining.pairs import Pairs
from lightning_embed.utils.atomic import whole_file

OutputFormat = Literal["n-tuple-scores", "n-tuple", "triplet", "labeled-pair", "labeled-list"]
SUFFIXES = (".jsonl", ".parquet")
WRITE = 2048


@dataclass(frozen=True)
class Mined:
    """The negatives of A anchors, and the scores of P pairs."""

    pairs: Pairs
    negatives: NDArray[np.int32]
    """(A, N) documents, the highest score first; -1 where one is lacking."""
    negative_scores: NDArray[np.float32]
    """(A, N)."""
    positive_scores: NDArray[np.float32]
    """(P,)."""

    @property
    def counts(self) -> NDArray[np.int64]:
        """(P,) negatives of each pair."""
        return (self.negatives >= 0).sum(axis=1)[self.pairs.anchor]


def check_path(out: Path) -> None:
    """Raises `UserError` unless a file's name says one of the formats that are written.

    Args:
        out: The file.
    """
    if out.suffix not in SUFFIXES:
        raise UserError(f"--out: expected a file named *.jsonl or *.parquet, got {out}")


def rows(mined: Mined, form: OutputFormat, scored: bool) -> Iterator[list[dict[str, Any]]]:
    """The rows of the output, some at a time.

    Args:
        mined: What was found.
        form: The format; `n-tuple-scores` keeps every pair, the others those with negatives, `n-tuple` those with all N of them.
        scored: Whether scores are given.
    """
    pairs, wanted = mined.pairs, mined.negatives.shape[1]
    least = {"n-tuple-scores": 0, "n-tuple": wanted, "labeled-pair": 0}.get(form, 1)
    kept = np.flatnonzero(mined.counts >= least)
    first = np.zeros(len(pairs.anchor), dtype=bool)
    first[np.unique(pairs.anchor, return_index=True)[1]] = True
    for start in range(0, len(kept), WRITE):
        some = kept[start : start + WRITE]
        found = mined.negatives[pairs.anchor[some]]
        anchors = pairs.anchors.take(pairs.anchor[some])
        positives = pairs.corpus.take(pairs.positive[some])
        texts = iter(pairs.corpus.take(found[found >= 0]))
        extra = pairs.rows.take(pairs.row[some].tolist())
        batch: list[dict[str, Any]] = []
        for i, pair in enumerate(some):
            negatives = [next(texts) for _ in range(int((found[i] >= 0).sum()))]
            values = [mined.positive_scores[pair], *mined.negative_scores[pairs.anchor[pair]][: len(negatives)]]
            scores = [round(float(v), 6) for v in values]
            more = {role: extra[role][i] for role in (LABEL, DOCUMENT) if role in extra}
            shown = slice(None) if first[pair] or form != "labeled-pair" else slice(0, 1)
            batch += _rows(form, scored, anchors[i], [positives[i], *negatives][shown], scores, more)
        yield batch


def _rows(
    form: OutputFormat, scored: bool, anchor: str, texts: list[str], scores: list[float], more: dict[str, Any]
) -> list[dict[str, Any]]:
    """One pair's rows; `texts` and `scores` begin with the positive's."""
    positive, negatives = texts[0], texts[1:]
    pair = {ANCHOR: anchor, POSITIVE: positive}
    if form == "n-tuple-scores":
        return [pair | {NEGATIVE: negatives, SCORE: scores} | more]
    if form == "n-tuple":
        numbered = {f"{NEGATIVE}_{i}": text for i, text in enumerate(negatives, start=1)}
        return [pair | numbered | ({SCORE: scores} if scored else {}) | more]
    if form == "triplet":
        given = [{SCORE: [scores[0], score]} if scored else {} for score in scores[1:]]
        return [pair | {NEGATIVE: text} | own | more for text, own in zip(negatives, given, strict=True)]
    marks = scores if scored else [1.0, *[0.0] * len(negatives)]
    if form == "labeled-pair":
        return [{ANCHOR: anchor, POSITIVE: t, SCORE: m} for t, m in zip(texts, marks, strict=False)]
    return [{ANCHOR: anchor, "documents": texts, "scores" if scored else "labels": marks}]


def write(mined: Mined, out: Path, form: OutputFormat, scored: bool) -> int:
    """Writes the output, whole or not at all; returns how many rows it has. One without rows is not written.

    Args:
        mined: What was found.
        out: The file.
        form: The format.
        scored: Whether scores are given, in the formats that may have none.
    """
    count = 0
    with whole_file(out) as partial:
        if out.suffix == ".parquet":
            count = _parquet(rows(mined, form, scored), partial)
        else:
            with partial.open("w", encoding="utf-8") as stream:
                for batch in rows(mined, form, scored):
                    stream.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in batch)
                    count += len(batch)
        if not count:
            partial.unlink(missing_ok=True)
    return count


def _parquet(batches: Iterator[list[dict[str, Any]]], file: Path) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    lists = {"negative": pa.list_(pa.string()), "documents": pa.list_(pa.string())}
    writer, count = None, 0
    try:
        for batch in batches:
            if not batch:
                continue
            if writer is None:
                schema = pa.schema(
                    [
                        (name, lists[name] if isinstance(value, list) and name in lists else _kind(value))
                        for name, value in batch[0].items()
                    ]
                )
                writer = pq.ParquetWriter(file, schema)
            writer.write_table(pa.Table.from_pylist(batch, schema=schema))
            count += len(batch)
    finally:
        if writer is not None:
            writer.close()
    return count


def _kind(value: Any) -> Any:
    import pyarrow as pa

    if isinstance(value, list):
        return pa.list_(pa.float64())
    return {str: pa.string(), float: pa.float64(), bool: pa.bool_()}.get(type(value), pa.int64())
