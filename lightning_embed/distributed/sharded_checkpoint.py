"""A checkpoint that is a folder: each rank writes its shards, and any number of ranks, or one process, reads them.

The layout is Lightning's: `.metadata` and `*.distcp` of torch.distributed.checkpoint hold tensors, named `state_dict.NAME` and
`optimizer_0.state.NAME.exp_avg`; `meta.pt` holds all else. torch's own reader unpickles `.metadata`, which can run any code; the one here
(compat/torch.py) accepts tables of tensors and nothing else.
"""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from itertools import chain
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import Tensor, nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.metadata import Metadata, TensorStorageMetadata
from torch.optim import Optimizer

from lightning_embed.compat.torch import TensorReader
from lightning_embed.distributed.collectives import rank, world_size
from lightning_embed.distributed.tensors import shard_like
from lightning_embed.errors import UserError
from lightning_embed.utils.atomic import partial_folder, whole_folder

META = "meta.pt"
WEIGHTS, OPTIMIZER = "state_dict.", "optimizer_{}.state."


def is_sharded_checkpoint(path: Path) -> bool:
    """Whether a path is such a folder.

    Args:
        path: Any path.
    """
    return path.is_dir() and (path / META).is_file()


def save(folder: Path, tensors: Mapping[str, Tensor], rest: Mapping[str, Any]) -> None:
    """Writes a checkpoint; every rank calls it, and the folder is there whole or not at all.

    Args:
        folder: Where; an existing checkpoint is replaced.
        tensors: Name -> this rank's tensor; sharded ones are written by their owners.
        rest: Plain values and tensors that are not sharded; rank 0's are written.
    """
    with whole_folder(folder, alone=True) if rank() == 0 else nullcontext(partial_folder(folder)) as part:
        _wait()  # until it is there
        dcp.save(dict(tensors), storage_writer=dcp.FileSystemWriter(part), no_dist=world_size() == 1)
        if rank() == 0:
            torch.save(dict(rest), part / META)
    _wait()


def read(folder: Path, optimizer: bool = True) -> dict[str, Any]:
    """A sharded checkpoint whole, on the CPU, in the form of one that is a file; any one process may call it.

    Args:
        folder: The checkpoint.
        optimizer: Whether to read the optimizer's state too.

    Raises:
        UserError: It cannot be read.
    """
    table, rest = _open(folder)
    tensors = {
        name: torch.empty(entry.size, dtype=entry.properties.dtype)
        for name, entry in table.state_dict_metadata.items()
        if isinstance(entry, TensorStorageMetadata) and (optimizer or name.startswith(WEIGHTS))
    }
    _load(folder, tensors, alone=True)
    if not optimizer:
        rest = {key: value for key, value in rest.items() if key != "optimizer_states"}
    states = [_part(tensors, OPTIMIZER.format(i)) for i in range(len(rest.get("optimizer_states", [])))]
    for saved, state in zip(rest.get("optimizer_states", []), states, strict=True):
        saved["state"] = _by_parameter(state)
    return rest | {"state_dict": _part(tensors, WEIGHTS)}


def read_into(folder: Path, module: nn.Module, optimizers: list[Optimizer]) -> dict[str, Any]:
    """Reads each rank's shards of a checkpoint into a sharded module and its optimizers; returns the rest. Every rank calls it.

    Args:
        folder: The checkpoint.
        module: Whose weights are overwritten.
        optimizers: Those of the checkpoint, or none.

    Raises:
        UserError: It cannot be read, or is one of another model.
    """
    table, rest = _open(folder)
    weights = {WEIGHTS + name: value for name, value in module.state_dict().items()}
    there = {name for name in table.state_dict_metadata if name.startswith(WEIGHTS)}
    if there != set(weights):
        other = ", ".join(sorted(name.removeprefix(WEIGHTS) for name in there ^ set(weights))[:4])
        raise UserError(f"{folder}: the checkpoint is of another model: it and the model do not both have {other}")
    states: list[dict[str, Tensor]] = []
    for i, (optimizer, saved) in enumerate(zip(optimizers, rest.get("optimizer_states", []), strict=False)):
        check_sizes(saved["param_groups"], optimizer.param_groups)
        own = dict(zip(_names(saved), _parameters(optimizer), strict=True))
        prefix = OPTIMIZER.format(i)
        named = {name: table.state_dict_metadata[name] for name in table.state_dict_metadata if name.startswith(prefix)}
        states.append(
            {name: _empty(entry, own[name.removeprefix(prefix).rpartition(".")[0]]) for name, entry in named.items()}
        )
    _load(folder, weights | {name: value for state in states for name, value in state.items()})
    for i, (optimizer, saved) in enumerate(zip(optimizers, rest.get("optimizer_states", []), strict=False)):
        optimizer.load_state_dict(saved | {"state": _by_parameter(_part(states[i], OPTIMIZER.format(i)))})
    return rest


def shard_optimizer_state(saved: Mapping[str, Any], optimizer: Optimizer) -> None:
    """Loads an optimizer's whole state into one over sharded weights: each rank takes its shards.

    Args:
        saved: What `optimizer.state_dict()` gave on unsharded weights; parameters are matched by their order.
        optimizer: The optimizer.
    """
    check_sizes(saved["param_groups"], optimizer.param_groups)
    own = zip(_names(saved), _parameters(optimizer), strict=True)
    state = {
        name: {key: shard_like(value, parameter) for key, value in saved["state"][name].items()}
        for name, parameter in own
        if name in saved["state"]
    }
    optimizer.load_state_dict({**saved, "state": state})


def check_sizes(saved: Sequence[Mapping[str, Any]], own: Sequence[Mapping[str, Any]]) -> None:
    """Raises `UserError` where a checkpoint's optimizer is of other weights than the job trains.

    Args:
        saved: Its parameter groups.
        own: The job's.
    """
    before, now = ([len(group["params"]) for group in groups] for groups in (saved, own))
    if before != now:
        raise UserError(
            f"the checkpoint was made while {sum(before)} weight tensors trained, and this job trains {sum(now)}: train the same ones "
            "(projection.trainable, learnable_temperature, losses), or start a new run from its weights"
        )


def _names(saved: Mapping[str, Any]) -> list[Any]:
    return list(chain.from_iterable(group["params"] for group in saved["param_groups"]))


def _parameters(optimizer: Optimizer) -> list[Tensor]:
    return list(chain.from_iterable(group["params"] for group in optimizer.param_groups))


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _by_parameter(state: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """NAME.exp_avg -> tensor as NAME -> exp_avg -> tensor."""
    found: dict[str, dict[str, Tensor]] = {}
    for name, value in state.items():
        parameter, _, key = name.rpartition(".")
        found.setdefault(parameter, {})[key] = value
    return found


def _empty(entry: Any, like: Tensor) -> Tensor:
    """A tensor to read an entry into, sharded as a parameter if it is of its shape."""
    if entry.size == like.shape:
        return torch.zeros_like(like, dtype=entry.properties.dtype, requires_grad=False)
    return torch.zeros(entry.size, dtype=entry.properties.dtype)


def _open(folder: Path) -> tuple[Metadata, dict[str, Any]]:
    try:
        rest: dict[str, Any] = torch.load(folder / META, map_location="cpu", weights_only=True)
        return TensorReader(folder).read_metadata(), rest
    except Exception as error:  # a torn or foreign file can raise anything
        raise _unreadable(folder, error) from None


def _load(folder: Path, tensors: dict[str, Tensor], alone: bool = False) -> None:
    try:
        dcp.load(tensors, storage_reader=TensorReader(folder), no_dist=alone or world_size() == 1)
    except (Exception, CheckpointException) as error:  # the latter is none of the former
        raise _unreadable(folder, error) from None


def _unreadable(folder: Path, error: BaseException) -> UserError:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return UserError(f"{folder}: not a checkpoint that can be read ({lines[-1][:160]})")


def _wait() -> None:
    if world_size() > 1:
        dist.barrier()
