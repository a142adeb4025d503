"""The texts that a model is cut for."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from lightning_embed.batch import ANCHOR, ROLES
from lightning_embed.datamodules.sources.opening import open_source
from lightning_embed.datamodules.sources.rows import as_list
from lightning_embed.datamodules.sources.source import Source

READ = 4096
"""Rows that are read at a time."""


class Corpus:
    """All texts of a source, whatever their role; they stay on disk.

    Args:
        source: Texts alone, pairs, or rows with negatives.
        seed: Which rows are the sample.

    Raises:
        UserError: The source cannot be read or has no texts.
    """

    def __init__(self, source: Source, seed: int = 0) -> None:
        self.rows = open_source(source, (ANCHOR,), texts_alone=True)
        self.seed = seed

    def sample(self, most: int) -> list[str]:
        """Distinct texts of rows drawn at random; the same at each call.

        Args:
            most: How many.
        """
        rows = np.random.default_rng(self.seed).permutation(len(self.rows))
        found: dict[str, None] = {}
        for start in range(0, len(rows), most):
            found |= dict.fromkeys(_texts(self.rows.take(rows[start : start + most].tolist())))
            if len(found) >= most:
                break
        return list(found)[:most]

    def __iter__(self) -> Iterator[list[str]]:
        """All texts, some thousand at a time."""
        for start in range(0, len(self.rows), READ):
            yield _texts(self.rows.take(range(start, min(start + READ, len(self.rows)))))

    def __len__(self) -> int:
        """How many batches there are."""
        return -(-len(self.rows) // READ)


def _texts(taken: dict[str, list[Any]]) -> list[str]:
    texts = (text for role in ROLES for cell in taken.get(role, []) for text in as_list(cell))
    return [text for text in texts if text.strip()]
