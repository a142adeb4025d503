"""How far a run is, written into its checkpoints in the one form from which Lightning goes on exactly, however often it is killed.

Two things go wrong otherwise. A checkpoint between two steps of the optimizer (Lightning writes one after the first batch of a resumed run,
and after validations) keeps no gradients, so those gathered since the last step are lost: here the count goes back to that step, and the
batches since are done again. And a run resumed at the end of an epoch leaves its epochs miscounted, so that the next resume forgets how far
it is in its epoch.
"""

from collections.abc import Callable
from typing import Any

import lightning.pytorch as L


def steps_done(trainer: L.Trainer) -> int:
    """Batches trained on, through all epochs, up to the optimizer's last step.

    Args:
        trainer: While it fits.
    """
    progress: Any = trainer.fit_loop.epoch_loop.batch_progress
    inside = progress.current.processed
    gathered = inside % trainer.accumulate_grad_batches if inside < trainer.num_training_batches else 0
    return int(progress.total.processed - gathered)


def fix_progress_counters(trainer: L.Trainer, checkpoint: dict[str, Any]) -> None:
    """Settles the counts of batches and epochs in a checkpoint.

    Args:
        trainer: Whose checkpoint it is.
        checkpoint: Its content.
    """
    per_epoch = trainer.num_training_batches
    if not isinstance(per_epoch, int) or per_epoch < 1:
        return
    done = steps_done(trainer)
    loops = checkpoint["loops"]["fit_loop"]
    loops["epoch_loop.batch_progress"] |= batch_counts(done, per_epoch)
    loops["epoch_progress"] |= epoch_counts(done, per_epoch)
    # a validation that was cut short is not continued in its middle
    loops["epoch_loop.val_loop.batch_progress"] |= {
        "total": _counts(0, 0, 0),
        "current": _counts(0, 0, 0),
        "is_last_batch": False,
    }
    loops["epoch_loop.state_dict"]["_batches_that_stepped"] = max(0, trainer.global_step - 1)


def after_signals_are_registered(trainer: L.Trainer, function: Callable[[], None]) -> None:
    """Has a function called in each fit, once Lightning has registered its signal handlers; it restores all handlers at the end.

    Without it Lightning's handler of SIGTERM ends the run with exit code 0, and exchanges a tensor between ranks from within the handler.

    Args:
        trainer: While it sets up.
        function: Registers other handlers.
    """
    connector: Any = trainer._signal_connector
    register = type(connector).register_signal_handlers

    def both() -> None:
        register(connector)
        function()

    connector.register_signal_handlers = both


def _counts(entered: int, done: int, completed: int) -> dict[str, int]:
    return {"ready": entered, "started": entered, "processed": done, "completed": completed}


def batch_counts(done: int, per_epoch: int) -> dict[str, Any]:
    """Lightning's count of batches as it is while the last batch done ends, that of an epoch included.

    Args:
        done: Batches done, through all epochs.
        per_epoch: Batches of an epoch.
    """
    inside = (done - 1) % per_epoch + 1 if done else 0
    return {
        "total": _counts(done, done, max(0, done - 1)),
        "current": _counts(inside, inside, max(0, inside - 1)),
        "is_last_batch": inside == per_epoch,
    }


def epoch_counts(done: int, per_epoch: int) -> dict[str, Any]:
    """Lightning's count of epochs at that time: the one that it is in has begun and has not ended.

    Args:
        done: Batches done, through all epochs.
        per_epoch: Batches of an epoch.
    """
    before = (done - 1) // per_epoch if done else 0
    counts = _counts(before + bool(done), before, before)
    return {"total": counts, "current": dict(counts)}
