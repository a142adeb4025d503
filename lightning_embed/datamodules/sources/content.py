"""What a source holds and lacks, as far as it decides whether a loss can learn from it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_embed.batch import ANCHOR, POSITIVE
from lightning_embed.datamodules.sources.checks import count_of, is_list
from lightning_embed.datamodules.sources.columns import POSITIVE_SCORE, SCORE
from lightning_embed.datamodules.sources.table import Table


@dataclass(frozen=True)
class Content:
    """What was found when a source was opened."""

    left_out: Mapping[str, int] = field(default_factory=dict)
    """Why rows of the files do not count -> how many."""
    unused: tuple[str, ...] = ()
    """Columns of the data that play no role."""
    unlike: int = 0
    """Rows labelled as pairs that do not belong together."""
    without_negatives: int = 0
    """Rows without a negative, where others have some."""
    same: frozenset[str] = frozenset()
    """What is the same in all rows: `anchor`, `positive`, `score`."""


def count_without_negatives(table: Table, columns: list[str], usable: NDArray[np.bool_]) -> int:
    """How many rows have no negative.

    Args:
        table: The rows.
        columns: Columns of negatives.
        usable: (n,) which rows count.
    """
    counts = [count_of(batch, columns) for batch in table.batches(columns)]
    return int(((np.concatenate(counts) == 0) & usable).sum())


def same_in_all(table: Table, roles: Mapping[str, list[str]], usable: NDArray[np.bool_]) -> frozenset[str]:
    """Which of `anchor`, `positive` and `score` (of the positive) are the same in all rows, of which there are several.

    Args:
        table: The rows.
        roles: Role -> columns.
        usable: (n,) which rows count.
    """
    columns = {what: roles[what][0] for what in (ANCHOR, POSITIVE, SCORE) if what in roles}
    if POSITIVE_SCORE in roles:
        columns[SCORE] = roles[POSITIVE_SCORE][0]
    several = usable.sum() > 1
    alone = SCORE in roles  # of a list, the first score is the positive's
    return frozenset(w for w, c in columns.items() if several and _one_value(table, c, usable, alone and w == SCORE))


def _one_value(table: Table, column: str, usable: NDArray[np.bool_], first_alone: bool) -> bool:
    """Whether a column holds one value; reads on only until there are two. Of a list all items count, or the first alone."""
    import pyarrow as pa

    seen: set[Any] = set()
    start = 0
    for batch in table.batches([column]):
        values = batch.column(0).filter(pa.array(usable[start : start + len(batch)]))
        start += len(batch)
        seen.update(_unique(values, first_alone))
        if len(seen) > 1:
            return False
    return bool(seen)


def _unique(values: Any, first_alone: bool) -> set[Any]:
    import pyarrow as pa
    import pyarrow.compute as pc

    if is_list(values.type):
        values = pc.list_element(values, 0) if first_alone and len(values) else pc.list_flatten(values)
    if pa.types.is_struct(values.type):
        return {tuple(sorted(value.items())) for value in values[:1000].to_pylist() if value is not None}
    return set(pc.unique(values).to_pylist())
