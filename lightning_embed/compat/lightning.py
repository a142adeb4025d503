"""What Lightning keeps to itself: its progress counters, its loops, its launchers and whether a module has a trainer.

Its counters need correcting in a checkpoint for two reasons. A checkpoint between two optimizer steps (Lightning writes one after the first
batch of a resumed run, and after validations) holds no gradients, so those accumulated since the last step are lost: here the count goes
back to that step, and the batches since then are trained on again. And a run resumed at the end of an epoch miscounts its epochs, so that
the next resume forgets how far into its epoch it was.
"""

import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import lightning.pytorch as L
from lightning.pytorch.plugins.precision import Precision
from lightning.pytorch.strategies import ModelParallelStrategy
from lightning.pytorch.trainer import call
from torch.optim import Optimizer


def batch_number(trainer: L.Trainer) -> int:
    """The number of the batch that is being trained on, from 0, through all epochs: seeds what it draws at random.

    Without it a resumed run would draw other random numbers than the run that was not killed.

    Args:
        trainer: While it fits.
    """
    return trainer.fit_loop.total_batch_idx


def batches_done(trainer: L.Trainer) -> int:
    """Batches trained on, through all epochs: tells the sampler where to start.

    Without it a resumed run, or the second epoch, would read the first rows again.

    Args:
        trainer: Any, fitting or not.
    """
    progress: Any = trainer.fit_loop.epoch_loop.batch_progress
    return int(progress.total.processed)


def is_attached(module: L.LightningModule) -> bool:
    """Whether a trainer runs a module; `module.trainer` raises where none does, and load_from_checkpoint calls hooks without one.

    Args:
        module: With or without a trainer.
    """
    return module._trainer is not None


@contextmanager
def clipping_fused(precision: Precision, optimizer: Optimizer) -> Iterator[None]:
    """Within it Lightning clips gradients under a fused optimizer, which it refuses in mixed precision even where no gradient is scaled.

    It asks the optimizer whether it removes the scale itself; in bfloat16 there is none.

    Args:
        precision: The trainer's plugin.
        optimizer: The optimizer.
    """
    fused = getattr(optimizer, "_step_supports_amp_scaling", None)
    if not fused or getattr(precision, "scaler", None) is not None:
        yield
        return
    optimizer._step_supports_amp_scaling = False  # type: ignore[attr-defined]
    try:
        yield
    finally:
        optimizer._step_supports_amp_scaling = fused  # type: ignore[attr-defined]


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


def validate_now(trainer: L.Trainer, ends_epoch: bool) -> None:
    """Runs the validation loop of a fit out of its turn, if there is something to validate; every rank must call it.

    Without it a run that is shorter than an epoch would never be validated.

    Args:
        trainer: Between two steps, before the first or after the last.
        ends_epoch: Whether callbacks that look at the score at the end of an epoch are to look now.
    """
    if not trainer.enable_validation or trainer.fast_dev_run:  # type: ignore[attr-defined]
        return
    loop, logs = trainer.fit_loop.epoch_loop, trainer._logger_connector
    first, stepped = logs._first_loop_iter, loop._batches_that_stepped
    loop._batches_that_stepped = max(0, trainer.global_step - 1)  # the step that its scores are logged under
    trainer.validating = True
    loop.val_loop.run()
    trainer.training = True
    logs._first_loop_iter, loop._batches_that_stepped = first, stepped
    if ends_epoch:
        call._call_callback_hooks(trainer, "on_train_epoch_end", monitoring_callbacks=True)


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


def set_mesh_sizes(strategy: ModelParallelStrategy, data_parallel: int, tensor_parallel: int) -> None:
    """Sets the sizes of a strategy's mesh, before `setup_environment`; its constructor takes them before the devices are known.

    Without it Lightning would take the devices of a machine for a tensor-parallel group.

    Args:
        strategy: Changed in place.
        data_parallel: Devices that share out the batch.
        tensor_parallel: Devices that share out each product.
    """
    strategy._data_parallel_size, strategy._tensor_parallel_size = data_parallel, tensor_parallel


def turn_off_inference_mode(trainer: L.Trainer) -> None:
    """Has validate, test and predict run under `no_grad`, whatever was asked of the trainer.

    Without it FSDP2 would keep tensors made in inference mode, and fail when it next trains.

    Args:
        trainer: The trainer.
    """
    for loop in (trainer.validate_loop, trainer.test_loop, trainer.predict_loop):
        loop.inference_mode = False


def launch(trainer: L.Trainer, function: Callable[[], None]) -> None:
    """Calls a function in each process of the trainer's strategy, which starts them as it does for `fit`.

    Without it `cache` would run on one device alone.

    Args:
        trainer: Names the devices.
        function: What to call.
    """
    launcher: Any = trainer.strategy.launcher
    if launcher is None:
        function()
        return
    try:
        launcher.launch(function, trainer=trainer)
    except BaseException:
        launcher.kill(signal.SIGTERM)  # the other processes wait for this one
        raise


def started_processes(trainer: L.Trainer | None) -> list[subprocess.Popen[bytes]]:
    """The processes of the other ranks that this one started; without it they would outlive a run that failed.

    Args:
        trainer: The run's; None: it was not made yet.
    """
    launcher = None if trainer is None else trainer.strategy.launcher
    return getattr(launcher, "procs", [])
