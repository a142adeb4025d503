"""What the command line gives each Trainer, for those who make theirs by hand."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as L
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from lightning_embed.callbacks.final_validation import FinalValidation
from lightning_embed.callbacks.last_checkpoint import LastCheckpoint
from lightning_embed.callbacks.report import Report
from lightning_embed.callbacks.throughput import Throughput
from lightning_embed.checkpoints.io import CheckpointFiles
from lightning_embed.utils.notes import note

TRAINER: dict[str, Any] = {
    "log_every_n_steps": 10,
    "num_sanity_val_steps": 0,  # sources are checked when they are opened, and the report scores the untrained student
    "use_distributed_sampler": False,  # the data module's plan gives each rank its rows
}
"""Settings of the Trainer."""
BEST: dict[str, Any] = {
    "filename": "best",
    "monitor": "val/score",
    "mode": "max",
    "save_top_k": 1,
    "enable_version_counter": False,
    "auto_insert_metric_name": False,
}
"""Settings of the ModelCheckpoint that writes best.ckpt."""


def best_mode(monitor: str | None, mode: str, losses: Collection[str] = ()) -> str:
    """`max` or `min`: `min` for a loss of training, which is better the lower it is.

    Args:
        monitor: The logged value by which `best.ckpt` is chosen.
        mode: What it would be else.
        losses: Names of the run's losses.
    """
    is_loss = monitor is not None and monitor.startswith("train/") and monitor.rpartition("/")[2] in ("loss", *losses)
    if is_loss and mode != "min":
        note(f"{monitor} is better the lower it is, so best.ckpt is chosen by its least value (mode: min)")
    return "min" if is_loss else mode


def trainer_defaults(
    folder: str | Path,
    monitor: str | None = BEST["monitor"],
    mode: str = BEST["mode"],
    report: bool = False,
    callbacks: Sequence[L.Callback] = (),
) -> dict[str, Any]:
    """Arguments of a Trainer that then does what `python -m lightning_embed fit` does.

        trainer = L.Trainer(**trainer_defaults("runs/mine"), max_steps=1000)

    It writes `checkpoints/last.ckpt` and `best.ckpt`, each whole or not at all, saves when Ctrl-C or SIGTERM stops it, validates after the
    last step in any case, and logs losses, throughput and memory to `csv/` and `tensorboard/`.

    Args:
        folder: The run's folder, used as it is: checkpoints of an earlier run in it are overwritten.
        monitor: The logged value by which `best.ckpt` is chosen; None: only `last.ckpt` is written.
        mode: `max` or `min`; `min` in any case for `train/loss`.
        report: Whether to end with the report and `model/`, as `fit` does; the data must be an `EmbeddingDataModule`.
        callbacks: More callbacks, which come first.
    """
    folder = Path(folder)
    best = BEST | {"monitor": monitor, "mode": best_mode(monitor, mode), "save_top_k": 0 if monitor is None else 1}
    made = [*callbacks, *([Report()] if report else []), Throughput(), FinalValidation()]
    return TRAINER | {
        "default_root_dir": str(folder),
        "logger": [CSVLogger(folder, name="csv"), TensorBoardLogger(folder, name="tensorboard")],
        "plugins": [CheckpointFiles()],
        "callbacks": [*made, ModelCheckpoint(folder / "checkpoints", **best), LastCheckpoint()],
    }
