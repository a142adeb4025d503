"""The average of the weights of several checkpoints of one run: often a little better than the last, and never slower.

    w = (1/n) Σ_k w_k

The recipe's adapters end as the average of the last and an earlier checkpoint.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from lightning_embed.distributed.tensors import local, shard_like
from lightning_embed.errors import UserError


def mean(tensors: Sequence[Tensor]) -> Tensor:
    """The mean of tensors of one shape, in their own type; what is equal in all of them, or counts something, is as in the last.

    Args:
        tensors: n ≥ 1 tensors of any equal shape.
    """
    last = tensors[-1]
    if not last.is_floating_point() or all(torch.equal(one, last) for one in tensors[:-1]):
        return last
    return torch.stack([one.double() for one in tensors]).mean(0).to(last.dtype)


def average(states: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of state dicts, entry by entry; frozen weights, equal in all of them, stay as they are to the bit.

    Args:
        states: What each is called, such as its file -> its state dict; at least two.

    Returns:
        Entry -> mean, in the last one's types and order.

    Raises:
        UserError: They are not of one model: names the first entry, or shape, that differs.
    """
    if len(states) < 2:
        raise UserError(f"average: expected two checkpoints or more, got {len(states)}")
    names = list(states)
    last = states[names[-1]]
    for name in names[:-1]:
        _require_alike(states[name], last, name, names[-1])
    return {key: mean([state[key] for state in states.values()]) for key in last}


def _require_alike(one: Mapping[str, Tensor], other: Mapping[str, Tensor], name: str, other_name: str) -> None:
    for key in (*other, *one):
        if key not in one or key not in other:
            there, lacking = (other_name, name) if key in other else (name, other_name)
            raise UserError(
                f"average: {there} has '{key}' and {lacking} has not; give checkpoints of one student with the same losses"
            )
        if one[key].shape != other[key].shape:
            raise UserError(
                f"average: '{key}' is {tuple(one[key].shape)} in {name} and {tuple(other[key].shape)} in {other_name}; "
                "give checkpoints of one student"
            )


@torch.no_grad()
def average_with(module: nn.Module, earlier: Mapping[str, Tensor], source: Path) -> None:
    """Puts the mean of a module's weights and earlier ones into the module, in place, whether or not they are sharded over ranks.

    Args:
        module: Its weights are the later ones.
        earlier: Its state dict at an earlier step, whole and on the CPU.
        source: Where that is from, for messages.

    Raises:
        UserError: The state dict is another module's.
    """
    later = module.state_dict()
    # a checkpoint may leave out what is frozen, such as the backbone beneath an adapter
    kept = {name for name, weight in module.named_parameters() if weight.requires_grad} | set(earlier)
    _require_alike(earlier, {key: later[key] for key in later if key in kept}, str(source), "the trained model")
    for key, tensor in later.items():
        if key in kept and tensor.is_floating_point():
            mine = local(tensor)
            mine.copy_(mean([local(shard_like(earlier[key], tensor)).to(mine), mine]))
