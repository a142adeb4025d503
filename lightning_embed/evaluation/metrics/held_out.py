"""What every metric of held-out rows shares: it collects rows over an epoch, on all ranks, and scores them in any size and precision."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
import torch.distributed as dist
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from lightning_embed.batch import ANCHOR, POSITIVE, TokenBatch
from lightning_embed.distributed.collectives import gather
from lightning_embed.errors import UserError
from lightning_embed.evaluation.metrics.grid import GridRow, check_dims
from lightning_embed.evaluation.metrics.quantize import PRECISIONS, Precision, bytes_per_vector, check_precision
from lightning_embed.utils.teacher_names import ONE, teacher_key


def _gather_rows(rows: Tensor, group: Any = None) -> list[Tensor]:
    """All ranks' rows, for torchmetrics' `dist_sync_fn`.

    torchmetrics substitutes a flat float tensor for a rank without rows, and its own gather then meets tensors of different
    shape and type. Here such a rank first takes the shape and type of its peers': (0, D) float32, or (0,) int64.
    """
    width = rows.shape[1] if rows.ndim == 2 else 0
    widest = torch.tensor([width if len(rows) else -1], device=rows.device)
    dist.all_reduce(widest, op=dist.ReduceOp.MAX, group=group)
    if len(rows) == 0 and widest >= 0:
        rows = rows.new_empty(0, int(widest)) if widest > 0 else rows.new_empty(0, dtype=torch.int64)
    return [gather(rows.contiguous()).rows]


TEACHER = teacher_key(ONE)
"""What a metric names among its roles to get the teacher's vectors of the anchors; of several teachers, `teacher_key` of each."""


class HeldOutMetric(Metric):
    """A score of one source's held-out rows, in float32 or as they would be stored.

    A metric of your own says in `columns` what it collects and in `main` the name of its score, hands the batch's columns to `update` in
    `add`, and scores them in `score`; `EmbeddingModule.held_out_metric` chooses it. A column holds (4 bytes times its width) of each row.

    Raises:
        UserError: In `compute` and `grid`, if there are no rows.
    """

    full_state_update = False
    is_differentiable = False
    higher_is_better = True

    roles: ClassVar[tuple[str, ...]] = (ANCHOR, POSITIVE)
    """The texts that are embedded for it, and `TEACHER` where the teacher's vectors are needed."""
    columns: ClassVar[tuple[str, ...]]
    """Names of what it collects: each (n, width) float or (n,) int64."""
    takes_documents: ClassVar[bool] = False
    """Whether it takes batches of documents without anchors too; if not, they are left out."""
    main: str
    """The score that stands for the source."""

    def __init__(self) -> None:
        super().__init__(dist_sync_fn=_gather_rows)
        for column in self.columns:
            self.add_state(column, default=[], dist_reduce_fx="cat")

    @abstractmethod
    def add(self, vectors: Mapping[str, Tensor], batch: TokenBatch) -> None:
        """Adds a batch, by `update`.

        Args:
            vectors: Role -> (B, D) vectors, in any float type and of any length.
            batch: What they are of.
        """

    @abstractmethod
    def score(self, rows: Sequence[Tensor], dim: int, precision: Precision) -> dict[str, float]:
        """Metric -> score, `main` among them.

        Args:
            rows: The columns, of all ranks.
            dim: Entries of each vector to take.
            precision: How they are stored and compared.
        """

    def update(self, *columns: Tensor) -> None:
        """Adds rows.

        Args:
            columns: As `columns` names them.
        """
        for name, column in zip(self.columns, columns, strict=True):
            column = column.detach()
            getattr(self, name).append(column.float() if column.is_floating_point() else column)

    def compute(self) -> dict[str, float]:
        """Metric -> score of the whole vectors in float32, the same on every rank."""
        rows = self._joined()
        return self.score(rows, rows[0].shape[-1], "float32")

    def grid(self, dims: Sequence[int], precisions: Sequence[Precision] = PRECISIONS) -> list[GridRow]:
        """The scores in every size and precision, from the largest size down; every rank must call it.

        Args:
            dims: Sizes, each 1 to D.
            precisions: See `Precision`.

        Raises:
            UserError: A size is larger than D, or a precision is unknown.
        """
        for precision in precisions:
            check_precision(precision)
        with self.sync_context(dist_sync_fn=self.dist_sync_fn):
            rows = self._joined()
        check_dims(dims, rows[0].shape[-1])
        return [
            GridRow(dim, precision, bytes_per_vector(dim, precision), self.score(rows, dim, precision))
            for dim in sorted(set(dims), reverse=True)
            for precision in precisions
        ]

    def _joined(self) -> list[Tensor]:
        if len(getattr(self, self.columns[0])) == 0:
            raise UserError("no validation rows to score: expected at least one, got 0; check the validation data")
        return [dim_zero_cat(getattr(self, column)) for column in self.columns]
