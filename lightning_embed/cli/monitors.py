"""The scores that checkpoints and EarlyStopping watch: a misspelt one is found before the run, not at its first validation."""

from collections.abc import Iterator, Sequence
from difflib import get_close_matches

import lightning.pytorch as L

from lightning_embed.callbacks.task_grid import TaskGrid
from lightning_embed.datamodules import EmbeddingDataModule
from lightning_embed.errors import UserError
from lightning_embed.evaluation.metrics.retrieval import METRICS
from lightning_embed.module import EmbeddingModule

LIBRARIES = ("lightning", "lightning_embed", "torch")
"""Packages whose callbacks log nothing that is not known here."""


def check_monitors(trainer: L.Trainer, module: L.LightningModule, data: L.LightningDataModule) -> None:
    """Raises `UserError` if a callback watches a score that the run will not log.

    A module or a callback of the user's may log anything: then Lightning looks when the score is due.

    Args:
        trainer: With its callbacks, before it runs.
        module: What it will train.
        data: What on.
    """
    callbacks: Sequence[L.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    kinds = [type(one).__module__.partition(".")[0] for one in callbacks]
    if type(module) is not EmbeddingModule or not set(kinds) <= set(LIBRARIES):
        return
    known = list(_logged(module))
    validated = not isinstance(data, EmbeddingDataModule) or bool(data.sources("validation"))
    for one in callbacks:
        monitor = getattr(one, "monitor", None)
        if monitor is None or not getattr(one, "strict", True) or _is_of_grid(monitor, callbacks):
            continue
        who = f"{type(one).__name__}.monitor {monitor}"
        if monitor not in known:
            near = get_close_matches(monitor, known, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise UserError(f"{who}: no such score is logged; {hint}known are {', '.join(known)}")
        if monitor.startswith("val/") and not (validated and trainer.limit_val_batches):
            raise UserError(
                f"{who}: nothing is validated; give data.validation at least one source, or watch train/loss"
            )


def _logged(module: EmbeddingModule) -> Iterator[str]:
    """Names of what a run logs."""
    yield from (f"val/{name}" for name in METRICS)
    yield "train/loss"
    for name in module.terms:
        yield from (f"train/{name}", f"weight/{name}")
    yield from ("rows/s", "tokens/s", "epoch", "step")


def _is_of_grid(monitor: str, callbacks: Sequence[L.Callback]) -> bool:
    return monitor.startswith("grid/") and any(isinstance(one, TaskGrid) for one in callbacks)
