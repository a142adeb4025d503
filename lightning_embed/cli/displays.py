"""What a run shows and logs, beside what its configuration names."""

from pathlib import Path
from typing import Any

import lightning.pytorch as L
from lightning.pytorch.callbacks import ModelSummary, ProgressBar
from lightning.pytorch.loggers import CSVLogger

from lightning_embed.callbacks.model_summary import WeightsSummary
from lightning_embed.callbacks.progress import StepProgress


def loggers(given: Any, own: list[Any]) -> Any:
    """The loggers of a fit: those of the configuration, and beside them our CSV file, from which training.png is drawn.

    Args:
        given: trainer.logger: None or true for ours, false for none at all, else a logger or some.
        own: Ours, the CSV file first.
    """
    if given is None or given is True:
        return own
    if given is False:
        return False
    theirs = given if isinstance(given, list) else [given]
    places = [Path(one.root_dir).resolve() for one in theirs if isinstance(one, CSVLogger)]
    return theirs if Path(own[0].root_dir).resolve() in places else [*theirs, own[0]]


def own_displays(settings: Any) -> list[L.Callback]:
    """Our progress bar and summary of the weights, each unless it is switched off or the configuration brings another.

    Args:
        settings: `trainer`, with its callbacks made.
    """
    given = settings["callbacks"] or []
    given = given if isinstance(given, list) else [given]
    shown: list[L.Callback] = []
    if settings["enable_progress_bar"] is not False and not any(isinstance(one, ProgressBar) for one in given):
        shown.append(StepProgress())
    if settings["enable_model_summary"] is not False and not any(isinstance(one, ModelSummary) for one in given):
        shown.append(WeightsSummary())
    return shown
