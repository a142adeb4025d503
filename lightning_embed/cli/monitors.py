"""The scores that checkpoints and EarlyStopping watch: a misspelt one is found before the run, not at its first validation."""

from collections.abc import Iterator, Sequence
from difflib import get_close_matches

import lightning.pytorch as L

from lightning_embed.callbacks.task_grid import TaskGrid
from lightning_embed.datamodules import EmbeddingDataModule
from lightning_embed.errors import UserError
from lightning_embed.evaluation.metrics.by_source import MAINS, MEAN
from lightning_embed.evaluation.metrics.retrieval import METRICS
from lightning_embed.evaluation.metrics.teacher_cosine import TeacherCosine
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
    known = list(_logged(module, data))
    validated = not isinstance(data, EmbeddingDataModule) or bool(data.sources("validation") or data.holdout)
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


def _logged(module: EmbeddingModule, data: L.LightningDataModule) -> Iterator[str]:
    """Names of what a run may log; what a source's task is, and so its score, is known once it is opened."""
    held_out, trained = (_titles(data, split) for split in ("validation", "train"))
    yield f"val/{MEAN}"
    yield from (f"val/{name}" for name in (*METRICS, *MAINS[1:]))
    yield from (f"val/{TeacherCosine.main}_{name}" for name in module.teachers if name)
    yield from (f"val/{source}/{name}" for source in held_out for name in MAINS)
    yield "train/loss"
    for name in module.terms:
        yield from (f"train/{name}", f"weight/{name}")
    yield from (f"train/{source}/{name}" for source in trained for name in ("loss", *module.terms))
    yield from ("rows/s", "tokens/s", "epoch", "step")


def _titles(data: L.LightningDataModule, split: str) -> list[str]:
    """The names of a split's sources, where there are several, or some may be held out of training."""
    if not isinstance(data, EmbeddingDataModule):
        return []
    sources = data.sources(split) or (data.sources("train") if split == "validation" and data.holdout else [])
    return [source.title for source in sources] if len(sources) > 1 else []


def _is_of_grid(monitor: str, callbacks: Sequence[L.Callback]) -> bool:
    return monitor.startswith("grid/") and any(isinstance(one, TaskGrid) for one in callbacks)
