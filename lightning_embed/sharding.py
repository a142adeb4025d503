"""FSDP2: weights sharded over ranks, and whole again on rank 0 where a file is made of them.

Each layer is a group whose weights the ranks gather just before they need them and drop after; the rest of the backbone is one more, and
each head with something to train another. Shards, gradients and the optimizer's state stay in float32 whatever a forward computes in.
"""

import copy
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard

from lightning_embed.backbone import layer_list
from lightning_embed.distributed.collectives import rank
from lightning_embed.distributed.tensors import unshard_state

if TYPE_CHECKING:
    from lightning_embed.encoder import TextEncoder

OUTLINE = "unsharded_outline"
"""Attribute of a sharded encoder: itself as it was, on torch's meta device."""


def shard_encoder(
    encoder: "TextEncoder", mesh: DeviceMesh, policy: MixedPrecisionPolicy, keep_root: bool = True
) -> None:
    """Shards an encoder's weights: its layers, then what is left of its backbone; one that is sharded already is left as it is.

    Args:
        encoder: The encoder.
        mesh: The ranks: one dimension, or (replicate, shard).
        policy: What its forwards compute in.
        keep_root: Whether the weights outside of the layers stay gathered from a forward to the backward pass.
    """
    backbone = encoder.backbone
    if isinstance(backbone, FSDPModule):
        return
    object.__setattr__(encoder, OUTLINE, _outline(encoder))
    for layer in layer_list(backbone)[1]:
        fully_shard(layer, mesh=mesh, mp_policy=policy)
    fully_shard(backbone, mesh=mesh, mp_policy=policy, reshard_after_forward=None if keep_root else True)


def shard_heads(heads: Iterable[nn.Module | None], mesh: DeviceMesh) -> None:
    """Shards what trains beside the encoder, in float32; a head without anything to train stays as it is.

    Args:
        heads: The projection and the losses; called, in a step, by their forward.
        mesh: The ranks.
    """
    for head in heads:
        if head is not None and not isinstance(head, FSDPModule) and any(p.requires_grad for p in head.parameters()):
            fully_shard(head, mesh=mesh)


def is_fsdp(encoder: nn.Module) -> bool:
    """Whether an encoder's weights are FSDP2's, on one rank or more.

    Args:
        encoder: Any module.
    """
    return OUTLINE in encoder.__dict__


def whole(encoder: "TextEncoder") -> "TextEncoder | None":
    """An encoder that one process can use by itself: a copy on the CPU of a sharded one, on rank 0 (None elsewhere); else the encoder.

    Every rank must call it.

    Args:
        encoder: The encoder.
    """
    if not is_fsdp(encoder):
        return encoder
    state = unshard_state(encoder)
    if rank() != 0:
        return None
    made: TextEncoder = _copy(encoder.__dict__[OUTLINE], {})
    made.load_state_dict(state, strict=True, assign=True)
    return made.to("cpu").train(encoder.training)


def _outline(encoder: "TextEncoder") -> "TextEncoder":
    """A copy whose weights are on the meta device; buffers, such as rotary frequencies, are real."""
    return _copy(encoder, {id(p): nn.Parameter(p.to("meta"), p.requires_grad) for p in encoder.parameters()})


def _copy(encoder: "TextEncoder", memo: dict[int, Any]) -> "TextEncoder":
    memo[id(encoder.tokenizer)] = encoder.tokenizer
    with torch.no_grad():
        return copy.deepcopy(encoder, memo)
