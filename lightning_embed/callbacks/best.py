"""The best checkpoint of a run, and how its weights compare with those that are reported."""

from pathlib import Path

import lightning.pytorch as L
from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_embed.checkpoints.settings import read_without_weights
from lightning_embed.evaluation.reports import notes


def best_checkpoint(trainer: L.Trainer) -> ModelCheckpoint | None:
    """The callback that keeps the best checkpoint by a monitored score, if there is one.

    Args:
        trainer: Of the run.
    """
    return next((c for c in trainer.checkpoint_callbacks if isinstance(c, ModelCheckpoint) and c.monitor), None)


def describe_weights(trainer: L.Trainer, step: int) -> str:
    """A sentence on the weights that are reported, and the best ones where they are others.

    Args:
        trainer: Of the run.
        step: Of the weights that are reported.
    """
    best = best_checkpoint(trainer)
    if best is None or not Path(best.best_model_path).name or best.best_model_score is None:
        return notes.which_weights(step, None, None)
    best_step = int(read_without_weights(Path(best.best_model_path))["global_step"])
    last = trainer.callback_metrics.get(str(best.monitor))
    scores = None if last is None else (float(best.best_model_score), float(last))
    return notes.which_weights(step, None if best_step == step else best_step, scores)
