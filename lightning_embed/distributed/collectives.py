"""The one gather, the one sum and the one global mean: how a loss sees every rank's rows.

Under DDP and FSDP each rank's gradient is averaged over the W ranks. A loss keeps invariant "the number of ranks changes
nothing" when the mean over ranks of what it returns is the loss of the global batch, and when gradients that flow back through a
collective are summed over ranks. Every collective here does the latter; `global_mean` does the former:

    L_rank = W · Σ_{rows of this rank} l_i / n_global        so that        mean over ranks of L_rank = Σ_i l_i / n_global

Ranks may hold different numbers of rows, none included. Without an initialised process group all of it is the identity.
"""

from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn


class Gathered(NamedTuple):
    """Every rank's rows in order of rank, and where this rank's own begin."""

    rows: Tensor
    """(G, ...) rows of all ranks."""
    offset: int
    """Index in `rows` of this rank's first row."""


def world_size() -> int:
    """Number of ranks W, 1 outside distributed runs."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """This process's rank, 0 outside distributed runs."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def is_sharded(module: nn.Module) -> bool:
    """Whether some of a module's weights are sharded over ranks (FSDP), so that each forward is an exchange between them.

    Args:
        module: Any module.
    """
    if world_size() == 1:
        return False
    from torch.distributed.fsdp import FSDPModule

    return any(isinstance(part, FSDPModule) for part in module.modules())


def max_over_ranks(count: int, device: torch.device) -> int:
    """The greatest of all ranks' counts; without a process group, the count itself.

    Args:
        count: This rank's.
        device: Where the ranks exchange tensors.
    """
    if world_size() == 1:
        return count
    greatest = torch.tensor(count, device=device)
    dist.all_reduce(greatest, op=dist.ReduceOp.MAX)
    return int(greatest)


class _Gather(torch.autograd.Function):
    """All ranks' rows, padded to the longest for the exchange; the gradient of a row is the sum over all ranks."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, counts: list[int]) -> Tensor:
        ctx.counts = counts
        longest = max(counts)
        padded = rows.new_zeros((longest, *rows.shape[1:]))
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(parts, padded)
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        grad = grads[0].contiguous()
        dist.all_reduce(grad)
        start = sum(ctx.counts[: rank()])
        return grad[start : start + ctx.counts[rank()]], None


class _Sum(torch.autograd.Function):
    """The sum of a tensor over ranks; so is its gradient."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        total = tensor.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        grad = grads[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(grad)
        return grad


def gather(rows: Tensor) -> Gathered:
    """Joins the rows of all ranks along the first dimension, with exact gradients and ragged counts.

    Args:
        rows: (n, ...) this rank's rows; n may differ between ranks and be 0, the other sizes and the dtype may not.

    Returns:
        (G, ...) with G the sum of n over ranks, and the index of this rank's first row in it.
    """
    if world_size() == 1:
        return Gathered(rows, 0)
    mine = torch.tensor([len(rows)], device=rows.device)
    each = [torch.empty_like(mine) for _ in range(world_size())]
    dist.all_gather(each, mine)
    counts = torch.cat(each).tolist()
    if max(counts) == 0:
        return Gathered(rows, 0)
    return Gathered(_Gather.apply(rows, counts), sum(counts[: rank()]))


def global_sum(tensor: Tensor) -> Tensor:
    """Adds a tensor of equal shape up over all ranks, with exact gradients.

    Args:
        tensor: Any shape, the same on every rank.
    """
    return tensor if world_size() == 1 else _Sum.apply(tensor)


def global_extremes(rows: Tensor) -> tuple[Tensor, Tensor]:
    """The least and the greatest value of each column over all ranks' rows, without a gradient.

    Args:
        rows: (n, D) this rank's rows; n may be 0.

    Returns:
        (D,) twice; +∞ and −∞ where no rank has a row.
    """
    end = rows.new_full((1, rows.shape[1]), torch.inf)
    both = torch.stack([torch.cat([-rows.detach(), -end]).amax(dim=0), torch.cat([rows.detach(), -end]).amax(dim=0)])
    if world_size() > 1:
        dist.all_reduce(both, op=dist.ReduceOp.MAX)
    return -both[0], both[1]


def global_count(count: int | Tensor, like: Tensor) -> Tensor:
    """Adds a count up over all ranks, without a gradient; a float32 scalar on the device of `like`.

    Args:
        count: Rows (or other things counted) on this rank.
        like: Tells the device.
    """
    total = torch.as_tensor(count, dtype=torch.float32, device=like.device).detach().clone()
    if world_size() > 1:
        dist.all_reduce(total)
    return total


def global_mean(total: Tensor, count: int | Tensor) -> Tensor:
    """W · total / Σ_ranks count: this rank's part of a mean over the global batch (see the module's head).

    Args:
        total: Scalar, the sum over this rank's rows.
        count: How many rows it is a sum of. Where the global count is 0 the result is 0, with its graph whole.
    """
    return total * world_size() / global_count(count, total).clamp(min=1)
