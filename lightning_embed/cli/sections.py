"""The sections of a configuration, for messages about it."""

from collections.abc import Iterable, Sequence
from typing import Any

import lightning.pytorch as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_embed.callbacks.average import AverageCheckpoints
from lightning_embed.callbacks.last_checkpoint import LastCheckpoint
from lightning_embed.callbacks.prediction_writer import PredictionWriter
from lightning_embed.callbacks.report import Report
from lightning_embed.cli.constructors import arguments
from lightning_embed.cli.diagnosis import diagnose
from lightning_embed.cli.words import Piece
from lightning_embed.datamodules import EmbeddingDataModule
from lightning_embed.datamodules.sources import Source
from lightning_embed.module import EmbeddingModule
from lightning_embed.schedulers import WarmupSchedule

SECTIONS: dict[str, type] = {
    "model": EmbeddingModule,
    "data": L.LightningDataModule,
    "trainer": L.Trainer,
    "checkpoint": ModelCheckpoint,
    "last_checkpoint": LastCheckpoint,
    "average": AverageCheckpoints,
    "report": Report,
    "output": PredictionWriter,
}
PLACES: dict[str, type] = {
    "trainer": L.Trainer,
    "model.init_args": EmbeddingModule,
    "data.init_args": EmbeddingDataModule,
    "model.init_args.optimizer.init_args": torch.optim.AdamW,
    "model.init_args.lr_scheduler.init_args": WarmupSchedule,
    "model.init_args.student": arguments(EmbeddingModule).types["student"],
    "data.init_args.train": Source,
    "checkpoint": ModelCheckpoint,
    "last_checkpoint": LastCheckpoint,
}
"""Where a setting may belong that is given in a wrong place, the likeliest first."""


def why_refused(pieces: Sequence[Piece], names: Iterable[str]) -> str | None:
    """What is wrong with a configuration of `fit` or another command that takes it; None where nothing is found.

    Args:
        pieces: What each --config and each option sets.
        names: The command's top-level settings.
    """
    sections: dict[str, Any] = {name: SECTIONS.get(name, Any) for name in names}
    return diagnose(pieces, sections, PLACES, ("model",))
