"""Writes what `predict` embeds: a Parquet file (row, one column of vectors a role) or a .npy matrix."""

from pathlib import Path
from typing import IO, Any

import lightning.pytorch as L
import numpy as np
import torch
from torch import Tensor

from lightning_embed.batch import TokenBatch
from lightning_embed.distributed.collectives import gather
from lightning_embed.errors import UserError
from lightning_embed.utils.atomic import whole_file


class PredictionWriter(L.Callback):
    """Collects the vectors of all ranks in the order of the rows and writes them when `predict` ends.

    Args:
        path: `*.parquet`, or `*.npy` for the anchors' (n, D) matrix alone; None: `embeddings.parquet` in the run's folder.
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
            (batch.source, batch.rows, {role: v.cpu() for role, v in outputs.items() if role != "negative"})
        )

    def on_predict_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Joins the ranks' rows and writes the file whole."""
        names = list(dict.fromkeys(source.title for source in trainer.datamodule.sources("predict")))  # type: ignore[attr-defined]
        places, vectors = self._joined(names, pl_module.device)
        self.parts = []
        if not trainer.is_global_zero:
            return
        target = Path(self.path or Path(trainer.default_root_dir) / "embeddings.parquet")
        try:
            with whole_file(target) as partial, partial.open("wb") as file:
                if target.suffix == ".npy":
                    np.save(file, vectors["anchor"])
                else:
                    self._parquet(file, vectors, [names[i] for i in places[:, 0]], places[:, 1])
        except OSError as error:
            raise UserError(f"{target} could not be written: {error.strerror or error}") from None
        print(f"{len(places):,} rows embedded -> {target}")

    def _joined(self, names: list[str], device: torch.device) -> tuple[Any, dict[str, Any]]:
        """All ranks' rows in order: (n, 2) number of the source and of the row, and role -> (n, D) vectors."""
        source = torch.tensor([names.index(s) for s, rows, _ in self.parts for _ in rows])
        row = torch.tensor([r for _, rows, _ in self.parts for r in rows])
        places = _gathered(torch.stack([source, row], 1), device)
        order = np.lexsort((places[:, 1], places[:, 0]))
        vectors = {
            role: _gathered(torch.cat([part[role] for _, _, part in self.parts]), device)[order]
            for role in self.parts[0][2]
        }
        return places[order], vectors

    @staticmethod
    def _parquet(file: IO[bytes], vectors: dict[str, Any], sources: list[str], rows: Any) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        columns: dict[str, Any] = {"source": sources, "row": rows}
        for role, matrix in vectors.items():
            columns[role] = pa.FixedSizeListArray.from_arrays(pa.array(matrix.ravel()), matrix.shape[1])
        pq.write_table(pa.table(columns), file)


def _gathered(rows: Tensor, device: torch.device) -> Any:
    return gather(rows.to(device)).rows.cpu().numpy()
