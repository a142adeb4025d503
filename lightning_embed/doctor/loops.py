"""Sets a trainer's loops up without training, so that what Lightning refuses is found before the run."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import lightning.pytorch as L

from lightning_embed.datamodules import EmbeddingDataModule

SETTINGS = (
    *("max_epochs", "min_epochs", "max_steps", "min_steps", "overfit_batches", "accumulate_grad_batches"),
    *("limit_train_batches", "limit_val_batches", "val_check_interval", "check_val_every_n_epoch"),
    *("gradient_clip_val", "gradient_clip_algorithm", "reload_dataloaders_every_n_epochs"),
)
"""Settings of the trainer that its loops, its optimizer and its data depend on; a device of this machine is enough to try them."""


class _Ready(Exception):
    """Everything is set up, and the first batch would be next."""


class _StopBeforeTraining(L.Callback):
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        raise _Ready


def set_up_loops(module: L.LightningModule, data: L.LightningDataModule, settings: Mapping[str, Any]) -> None:
    """Makes optimizer, schedule, data loaders and loops as `fit` would, on one CPU and without callbacks, loggers and files.

    Args:
        module: As `fit` would train it; its own hooks until training starts are called.
        data: As `fit` would read it; an `EmbeddingDataModule` starts no workers, caches nothing and lists no bad rows afterwards.
        settings: Of the trainer.

    Raises:
        Exception: What `fit` would raise.
    """
    if isinstance(data, EmbeddingDataModule):
        data.num_workers, data.cache_tokens = 0, False
        data.bad_rows.found.clear()  # no list of them is written
    trainer = L.Trainer(
        accelerator="cpu",
        devices=1,
        callbacks=[_StopBeforeTraining()],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        **{name: settings[name] for name in SETTINGS if name in settings},
    )
    with suppress(_Ready):
        trainer.fit(module, data)
