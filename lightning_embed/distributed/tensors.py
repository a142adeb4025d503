"""Tensors that may be sharded over ranks: whole, this rank's part, and back."""

from typing import Any

from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor


def local(tensor: Tensor) -> Tensor:
    """A tensor that one process has: of a sharded one, its part.

    Args:
        tensor: Any.
    """
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def unshard(value: Any) -> Any:
    """A tensor with all its entries, on the CPU; anything but a tensor is returned as it is. Every rank must call it.

    Args:
        value: Anything.
    """
    if isinstance(value, DTensor):
        value = value.full_tensor()
    return value.detach().cpu() if isinstance(value, Tensor) else value


def unshard_state(module: nn.Module) -> dict[str, Tensor]:
    """A module's state dict, whole and on the CPU, on rank 0; empty elsewhere. Every rank must call it.

    Args:
        module: A module with sharded weights.
    """
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

    # it gathers one tensor at a time: no rank holds all of them but rank 0, in main memory
    state: Any = get_model_state_dict(module, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
    return state


def shard_like(value: Any, like: Tensor) -> Any:
    """A whole tensor sharded as another one is, if it is of its shape.

    Args:
        value: Anything; the same on every rank.
        like: A parameter.
    """
    if not isinstance(value, Tensor) or not isinstance(like, DTensor) or value.shape != like.shape:
        return value
    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements, src_data_rank=None)
