"""Settings of the trainer that Lightning would refuse with a traceback, or that do not go together with what every run has."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as L
from lightning.pytorch.accelerators import AcceleratorRegistry
from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_embed.callbacks.report import Report
from lightning_embed.datamodules import EmbeddingDataModule
from lightning_embed.errors import UserError
from lightning_embed.utils.notes import note

GPU = ("cuda", "mps")
"""What `accelerator: gpu` may be."""


def check_trainer(settings: Any) -> None:
    """Raises `UserError` for what no command can run with.

    Args:
        settings: trainer, parsed.
    """
    if settings.get("barebones"):
        raise UserError(
            "trainer.barebones true: a run needs its checkpoints and logs; to measure speed, set trainer.enable_progress_bar false "
            "and report.enabled false, and look at rows/s in csv/"
        )
    if settings.get("enable_checkpointing") is False:
        raise UserError(
            "trainer.enable_checkpointing false: `fit` brings its own checkpoints; turn them off with last_checkpoint.enabled false "
            "and checkpoint.save_top_k 0"
        )
    if str(settings.get("precision")) in ("64", "64-true"):
        raise UserError(
            f"trainer.precision {settings.precision}: the losses are computed in float32 at most; take 32-true, bf16-mixed or 16-mixed"
        )


def missing_device(accelerator: Any) -> str | None:
    """What to say of an accelerator that this machine does not have; None if it has it.

    Args:
        accelerator: trainer.accelerator.
    """
    if not isinstance(accelerator, str) or accelerator in ("auto", "cpu"):
        return None
    known = AcceleratorRegistry.available_accelerators()
    names = GPU if accelerator == "gpu" else (accelerator,)
    if not any(name in known for name in names):
        return f"trainer.accelerator {accelerator}: there is no such accelerator; take auto, cpu or gpu"
    if any(AcceleratorRegistry.get(name).is_available() for name in names if name in known):
        return None
    return f"trainer.accelerator {accelerator}: torch finds no such device on this machine; take auto or cpu"


def keep_checkpoints_together(callbacks: Sequence[L.Callback], folder: Path) -> None:
    """Has each ModelCheckpoint without a folder of its own write into the run's.

    Lightning would put them beneath the first logger's version_0, from which a run cannot resume in its own folder.

    Args:
        callbacks: The trainer's.
        folder: The run's.
    """
    for one in callbacks:
        if not isinstance(one, ModelCheckpoint):
            continue
        if one.dirpath is None:
            one.dirpath = str(folder / "checkpoints")
        if one.save_last:
            one.save_last = None
            note("ModelCheckpoint.save_last does not count: last.ckpt is last_checkpoint's")


def leave_report_out(trainer: L.Trainer, data: L.LightningDataModule) -> None:
    """Removes the report where the data has no sources to score.

    Args:
        trainer: With its callbacks.
        data: What it will train on.
    """
    if isinstance(data, EmbeddingDataModule):
        return
    callbacks: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    if any(isinstance(one, Report) and one.enabled for one in callbacks):
        note("report: it needs an EmbeddingDataModule, so there is none; `export` writes the student of last.ckpt")
    trainer.callbacks = [one for one in callbacks if not isinstance(one, Report)]  # type: ignore[attr-defined]
