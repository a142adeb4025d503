"""Writes what `predict` embeds: a Parquet file (source, row, one column of vectors per role) or a .npy matrix."""

from pathlib import Path
from typing import IO, Any

import lightning.pytorch as L
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_embed.batch import ANCHOR, POSITIVE, TokenBatch
from lightning_embed.distributed.collectives import gather
from lightning_embed.errors import UserError
from lightning_embed.utils.atomic import whole_file

Places = NDArray[np.int64]
"""(n, 2) number of the source and of the row in it."""
Matrix = NDArray[np.float32]


class PredictionWriter(L.Callback):
    """Collects the vectors of all ranks and writes them when `predict` ends: sources in the order given, rows in the order of their file.

    Args:
        path: `*.parquet`, or `*.npy` for the anchors' (n, D) matrix alone; None: `embeddings.parquet` in the run's folder. Where some
            sources have a positive and others have not, its column is empty in the rows of the others.
    """

    def __init__(self, path: str | None = None) -> None:
        if path is not None and Path(path).suffix not in {".parquet", ".npy"}:
            raise UserError(f"output.path: expected a file named *.parquet or *.npy, got {path}")
        self.path = path
        self.parts: list[tuple[str, list[int], dict[str, Tensor]]] = []

    def on_predict_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: TokenBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keeps a batch's vectors."""
        self.parts.append(
            (batch.source, batch.rows, {role: v.cpu() for role, v in outputs.items() if role in (ANCHOR, POSITIVE)})
        )

    def on_predict_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Joins the ranks' rows and writes the file whole."""
        if not self.parts:  # every rank has a part of every batch, if an empty one
            raise UserError("`predict` embedded nothing: trainer.limit_predict_batches leaves no batch")
        names = [rows.source.title for rows in trainer.datamodule.rows("predict")]  # type: ignore[attr-defined]
        found = {
            role: self._joined(role, names, pl_module.device)
            for role in (ANCHOR, POSITIVE)
            if any(role in vectors for _, _, vectors in self.parts)
        }
        self.parts = []
        if not trainer.is_global_zero:
            return
        target = Path(self.path or Path(trainer.default_root_dir) / "embeddings.parquet")
        try:
            with whole_file(target) as partial, partial.open("wb") as file:
                if target.suffix == ".npy":
                    np.save(file, found[ANCHOR][1])
                else:
                    _write_parquet(file, names, found)
        except OSError as error:
            raise UserError(f"{target} could not be written: {error.strerror or error}") from None
        print(f"{len(found[ANCHOR][0]):,} rows embedded -> {target}")

    def _joined(self, role: str, names: list[str], device: torch.device) -> tuple[Places, Matrix]:
        """All ranks' rows that have a role, in order, and their (n, D) vectors."""
        parts = [(names.index(name), rows, vectors[role]) for name, rows, vectors in self.parts if role in vectors]
        mine = torch.tensor([(source, row) for source, rows, _ in parts for row in rows], dtype=torch.long)
        places = _gathered(mine.reshape(-1, 2), device)
        order = np.lexsort((places[:, 1], places[:, 0]))
        vectors = _gathered(torch.cat([vectors for _, _, vectors in parts]), device)
        return places[order], vectors[order]


def _write_parquet(file: IO[bytes], names: list[str], found: dict[str, tuple[Places, Matrix]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    places = found[ANCHOR][0]  # every row has an anchor
    columns: dict[str, Any] = {"source": [names[number] for number in places[:, 0]], "row": places[:, 1]}
    for role, (own, vectors) in found.items():
        width = vectors.shape[1]
        there = np.isin(places[:, 0], own[:, 0])
        entries = pa.array(vectors.ravel())
        if there.all():
            columns[role] = pa.FixedSizeListArray.from_arrays(entries, width)
        else:  # older Arrow cannot read a null in a list of a fixed size from Parquet
            offsets = np.concatenate([[0], np.cumsum(there * width)]).astype(np.int32)
            columns[role] = pa.ListArray.from_arrays(pa.array(offsets), entries, mask=pa.array(~there))
    pq.write_table(pa.table(columns), file)


def _gathered(rows: Tensor, device: torch.device) -> Any:
    return gather(rows.to(device)).rows.cpu().numpy()
