"""The settings of a resumed run: those of the job count, not those that a checkpoint's states hold beside their counters."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as L
from lightning.pytorch.callbacks import ModelCheckpoint, Timer
from torch import Tensor
from torch.optim import Optimizer

from lightning_embed.distributed.sharded_checkpoint import check_sizes
from lightning_embed.errors import UserError
from lightning_embed.schedulers import WarmupSchedule
from lightning_embed.utils.formatting import duration
from lightning_embed.utils.notes import note

SCHEDULED = {"lr", "initial_lr", "betas", "momentum", "max_lr", "min_lr", "max_momentum", "base_momentum"}
"""Settings of an optimizer that schedules of learning rates change or start from."""


@dataclass(frozen=True)
class Made:
    """The settings of an optimizer and its schedule as the job has them."""

    groups: list[dict[str, Any]]
    """Of each parameter group."""
    schedule: dict[str, Any]
    """Arguments of the schedule that it keeps."""

    @classmethod
    def of(cls, optimizer: Optimizer, scheduler: Any) -> "Made":
        """Notes them down.

        Args:
            optimizer: As it was made.
            scheduler: Its schedule, or None.
        """
        groups = [
            {name: value for name, value in group.items() if name != "params"} for group in optimizer.param_groups
        ]
        return cls(groups, {} if scheduler is None else _kept_arguments(scheduler))


def settle_checkpoint(trainer: L.Trainer, checkpoint: dict[str, Any], groups: Sequence[Mapping[str, Any]]) -> None:
    """Looks at a checkpoint before a fit resumes from it, and puts the job's settings into its callbacks' states.

    Args:
        trainer: Of the fit.
        checkpoint: Its content; changed.
        groups: The parameter groups that the job trains.

    Raises:
        UserError: It is of other weights than the job trains.
    """
    for saved in checkpoint.get("optimizer_states", [])[:1]:
        check_sizes(saved["param_groups"], groups)
    settle_callbacks(trainer.callbacks, checkpoint.get("callbacks", {}))  # type: ignore[attr-defined]
    if 0 < trainer.max_steps <= checkpoint["global_step"]:
        note(
            f"the checkpoint is of step {checkpoint['global_step']}: trainer.max_steps {trainer.max_steps} leaves nothing to train"
        )


def settle_optimizer(optimizer: Optimizer, scheduler: Any, made: Made, step: int) -> None:
    """Puts the job's settings back into an optimizer and a schedule that a checkpoint was loaded into, and notes which are new.

    `WarmupSchedule` follows the new settings. Other schedules keep their settings and their counters in one state, so they go on as in the
    checkpoint, and a note says so.

    Args:
        optimizer: The optimizer, with the checkpoint's states.
        scheduler: Its schedule, or None.
        made: What the job says.
        step: Optimizer steps done.

    Raises:
        UserError: The states are those of another kind of optimizer.
    """
    ours = isinstance(scheduler, WarmupSchedule)
    theirs = SCHEDULED if scheduler is not None and not ours else set()
    changed: list[str] = []
    kept = [
        f"{name} {value}" for name, value in made.schedule.items() if not ours and _is_other(scheduler, name, value)
    ]
    for group, own in zip(optimizer.param_groups, made.groups, strict=True):
        _check_kind(group, own)
        before, now = ({**one, "lr": one.get("initial_lr", one["lr"])} for one in (group, own))
        for name in sorted(set(before) & set(now) - {"params", "initial_lr"}):
            if before[name] != now[name]:
                (kept if name in theirs else changed).append(f"{name} {before[name]} -> {now[name]}")
        group.update({name: value for name, value in now.items() if name not in theirs})
    if ours:
        scheduler.move_to(step)
    if changed:
        note(f"optimizer: from step {step} on: {', '.join(dict.fromkeys(changed))}")
    if kept:
        kind = type(scheduler).__name__
        note(
            f"lr_scheduler: {kind} goes on as in the checkpoint, so this does not count: {', '.join(dict.fromkeys(kept))}; "
            "WarmupSchedule takes new settings"
        )


def _check_kind(group: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    before, now = (set(one) - {"params", "initial_lr"} for one in (group, own))
    if before - now and now - before:
        raise UserError(
            f"the checkpoint was made with an optimizer of another kind (with {', '.join(sorted(before - now))}): take the same, or start "
            "a new run from its weights"
        )


def settle_callbacks(callbacks: Sequence[L.Callback], states: dict[str, Any]) -> None:
    """Puts the job's settings into callbacks' states of a checkpoint, before they are loaded, and notes which are new.

    Args:
        callbacks: Of this run.
        states: Key -> state; changed.
    """
    for callback in callbacks:
        if isinstance(callback, ModelCheckpoint):
            _settle_best(callback, states)
        state = states.get(callback.state_key)
        if not isinstance(state, dict):
            continue
        for name, value in _kept_arguments(callback).items():
            if name in state and name != "dirpath" and state[name] != value:
                note(f"{type(callback).__name__}: {name} {state[name]} -> {value}")
                state[name] = value
        if isinstance(callback, Timer) and (seconds := state.get("time_elapsed", {}).get("train")):
            note(f"trainer.max_time: the {duration(seconds)} before the run was stopped count too")


def _settle_best(callback: ModelCheckpoint, states: dict[str, Any]) -> None:
    """Keeps the best score where only the times of saving, or the folder's place, have changed."""
    key, mode = callback.state_key, f"'mode': {callback.mode!r}"
    others = {name: state for name, state in states.items() if name.startswith(type(callback).__qualname__)}
    alike = [state for name, state in others.items() if mode in name and state["monitor"] == callback.monitor]
    if key not in states and alike:  # the key has the times of saving in it
        states[key] = alike[0]
    if key not in states:
        if others and callback.monitor:
            note(f"checkpoint.monitor is {callback.monitor} from here on: the next validation makes a new best.ckpt")
        return
    state, folder = states[key], Path(str(callback.dirpath))
    best = Path(state["best_model_path"])
    if state["dirpath"] != callback.dirpath and best.name and (folder / best.name).exists():  # it was moved
        for name in ("best_model_path", "kth_best_model_path", "last_model_path"):
            state[name] = state[name] and str(folder / Path(state[name]).name)
        state["best_k_models"] = {str(folder / Path(p).name): score for p, score in state["best_k_models"].items()}
        state["dirpath"] = callback.dirpath


def _kept_arguments(made: object) -> dict[str, Any]:
    """What a class took to be made and keeps under the same name: its settings, and not its counters."""
    names = [name for name in inspect.signature(type(made).__init__).parameters if name not in ("self", "last_epoch")]
    return {name: vars(made)[name] for name in names if name in vars(made)}


def _is_other(made: object, name: str, value: Any) -> bool:
    found = vars(made).get(name, value)
    return not isinstance(found, Tensor | Optimizer) and bool(found != value)
