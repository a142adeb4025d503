"""Rows of text and label as triplets: a positive of the same label and negatives of other labels, drawn again each epoch."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_embed.batch import text_key
from lightning_embed.datamodules.plan import mix
from lightning_embed.datamodules.sources.table import Table
from lightning_embed.errors import UserError


def label_id(label: Any) -> int:
    """A whole number for a label: itself if it is one, else a hash of the text, the same in every process.

    Args:
        label: A whole number or a text.
    """
    return int(label) if isinstance(label, int | np.integer) else text_key(str(label))


def _uniform(values: NDArray[np.int64], key: int) -> NDArray[np.float64]:
    """A number in [0, 1) for each value, by hash."""
    return (mix(values.astype(np.uint64), key) >> np.uint64(11)).astype(np.float64) / float(1 << 53)


def codes(table: Table, column: str) -> tuple[NDArray[np.int32], list[Any]]:
    """(n,) a small number for each row's label, -1 where it is missing, and the labels that they number.

    Args:
        table: The rows.
        column: Its column of labels.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    parts = [batch.column(0).dictionary_encode() for batch in table.batches([column])]
    whole = pa.chunked_array(parts).unify_dictionaries()
    numbers = [pc.fill_null(chunk.indices, -1).to_numpy(zero_copy_only=False) for chunk in whole.chunks]
    return np.concatenate(numbers).astype(np.int32), whole.chunk(0).dictionary.to_pylist()


def lone(labels: NDArray[Any]) -> NDArray[np.bool_]:
    """(n,) which rows are the only one of their label, so that they have no positive.

    Args:
        labels: (n,) label of each row.
    """
    _, codes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    return counts[codes] == 1


class Labelled:
    """Draws positives and negatives for rows by their labels; the draws are a function of the row and a key alone.

    Args:
        labels: (n,) label of each row; none has a single row.
        negatives: k, negatives of each row; fewer where there are fewer rows of other labels.
        title: The source's name, for messages.

    Raises:
        UserError: If there is one label only.
    """

    def __init__(self, labels: NDArray[Any], negatives: int, title: str) -> None:
        found, codes, counts = np.unique(labels, return_inverse=True, return_counts=True)
        if len(found) < 2:
            raise UserError(
                f"source '{title}': all {len(labels):,} rows have the same label; at least two labels are needed"
            )
        self.codes, self.counts = codes.astype(np.int32), counts
        self.order = np.argsort(codes, kind="stable").astype(np.int64)
        self.starts = np.cumsum(counts) - counts
        self.place = np.empty_like(self.order)
        self.place[self.order] = np.arange(len(self.order))
        self.negatives = min(negatives, int(len(codes) - counts.max()))
        self.most, self.title = negatives, title

    def of(self, rows: NDArray[np.bool_]) -> "Labelled":
        """The same for some of the rows, which are numbered among themselves.

        Args:
            rows: (n,) which.
        """
        return Labelled(self.codes[rows], self.most, self.title)

    def positives(self, rows: NDArray[np.int64], key: int) -> NDArray[np.int64]:
        """(B,) for each row another one of its label.

        Args:
            rows: (B,) row numbers.
            key: Which draw.
        """
        code = self.codes[rows]
        count, start = self.counts[code], self.starts[code]
        further = 1 + (_uniform(rows, key) * (count - 1)).astype(np.int64)
        return self.order[start + (self.place[rows] - start + further) % count]

    def draw_negatives(self, rows: NDArray[np.int64], key: int) -> NDArray[np.int64]:
        """(B, k) for each row k different ones of other labels, spread over the labels.

        The rows of other labels, sorted by label, are cut into k equal parts and one is drawn from each.

        Args:
            rows: (B,) row numbers.
            key: Which draw.
        """
        code, k = self.codes[rows], self.negatives
        count, start = self.counts[code][:, None], self.starts[code][:, None]
        others = len(self.codes) - count
        part = np.arange(k)
        drawn = _uniform(rows[:, None] * np.int64(k) + part, key + 1)
        low, high = part * others // k, (part + 1) * others // k
        place = low + (drawn * (high - low)).astype(np.int64)
        return self.order[np.where(place < start, place, place + count)]
