"""The settings of a run's checkpoints: `checkpoint` keeps the best, `last_checkpoint` the last."""

from pathlib import Path
from typing import Any

from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser

from lightning_embed.callbacks.defaults import BEST, best_mode
from lightning_embed.callbacks.last_checkpoint import LastCheckpoint


def add_checkpoints(parser: LightningArgumentParser) -> None:
    """Adds `checkpoint` and `last_checkpoint`.

    Args:
        parser: The command's.
    """
    parser.add_lightning_class_args(ModelCheckpoint, "checkpoint")
    parser.add_lightning_class_args(LastCheckpoint, "last_checkpoint")
    parser.set_defaults({f"checkpoint.{name}": value for name, value in BEST.items()})


def settle_checkpoints(config: Any, folder: Path) -> None:
    """Gives the checkpoints their folder, and hands what `checkpoint` says of the last one over to `last_checkpoint`.

    Lightning 2.6 writes its own last.ckpt only in a step that also makes a best one. And its steps or minutes would save a step as the best
    for the score of an earlier one: the best is chosen at validations alone.

    Args:
        config: The parsed configuration of `fit`; it is changed.
        folder: The run's folder.
    """
    best, last = config.checkpoint, config.last_checkpoint
    if best.dirpath is None:
        best.dirpath = str(folder / "checkpoints")
    data = config.data.get("init_args", {})
    validated = (data.get("validation", True) or data.get("holdout")) and config.trainer.limit_val_batches != 0
    if not validated and (best.monitor or "").startswith("val/"):
        best.monitor = None
        if best.filename == BEST["filename"] and best.save_top_k == 1:
            best.save_top_k = 0  # it would be a copy of the last
    best.mode = best_mode(best.monitor, best.mode, _losses(config.model))
    if best.save_last is False:
        last.enabled = False
    best.save_last = None
    best.save_on_exception = False  # the last one is saved then; this would put it in the best one's place
    if last.every_n_steps is None:
        last.every_n_steps = best.every_n_train_steps or None
    if best.train_time_interval is not None:
        last.every_minutes = best.train_time_interval.total_seconds() / 60
    chosen = best.monitor is not None and not best.monitor.startswith("train/") and best.save_top_k != -1
    if chosen:
        best.every_n_train_steps = best.train_time_interval = None


def _losses(model: Any) -> list[str]:
    """The names of a configuration's losses."""
    losses = (model.get("init_args") or {}).get("losses") if hasattr(model, "get") else None
    return [str(name) for name in losses or ()]
