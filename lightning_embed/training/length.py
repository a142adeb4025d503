"""How many optimizer steps a run has, known before it trains: where a learning rate's decay ends."""

import math
from typing import Any

import lightning.pytorch as L


def run_steps(trainer: L.Trainer) -> int | None:
    """The steps of trainer.max_steps or trainer.max_epochs, whichever end first; None: neither is set, and the end is not known.

    Lightning's estimated_stepping_batches would start the training data of our data modules before a checkpoint is loaded, so that they
    could not resume; other data, which has no plan, is asked for by it.

    Args:
        trainer: Being set up.
    """
    ends = [trainer.max_steps] if trainer.max_steps > 0 else []
    epochs = trainer.max_epochs or 0
    if epochs > 0:
        plan = getattr(getattr(trainer, "datamodule", None), "plan", None)
        if plan is None:
            found = trainer.estimated_stepping_batches
            ends += [int(found)] if math.isfinite(found) else []
        else:
            batches = epoch_batches(len(plan), trainer.limit_train_batches)
            ends.append(epochs * math.ceil(batches / trainer.accumulate_grad_batches))
    return min(ends, default=None)


def epoch_batches(batches: int, limit: Any) -> int:
    """Batches of an epoch that are trained on.

    Args:
        batches: Those that it has.
        limit: trainer.limit_train_batches: a number, or a share.
    """
    return int(batches * limit) if isinstance(limit, float) else min(batches, batches if limit is None else limit)
