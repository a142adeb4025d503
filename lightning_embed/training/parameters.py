"""What trains: its groups for the optimizer, and a gradient for what rests."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor


def parameter_groups(module: nn.Module) -> list[dict[str, Any]]:
    """The trainable parameters in two groups: matrices decay, vectors and scalars (biases, norms, temperatures) do not.

    Args:
        module: Whose parameters.
    """
    trainable = [p for p in module.parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in trainable if p.ndim >= 2]},
        {"params": [p for p in trainable if p.ndim < 2], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def zero_touching(heads: Iterable[nn.Module | None], like: Tensor) -> Tensor:
    """0, with a gradient of 0 for all that trains in some modules: DDP waits for every gradient.

    Args:
        heads: Modules whose parameters a step may not use; sharded ones, for which nobody waits, are left out.
        like: A scalar on the device where they are.
    """
    trained = [p for head in heads if head is not None for p in head.parameters() if p.requires_grad]
    return torch.stack([like.new_zeros(()), *(0 * p.sum() for p in trained if not isinstance(p, DTensor))]).sum()
