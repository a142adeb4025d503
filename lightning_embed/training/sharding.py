"""FSDP2: weights sharded over ranks, and whole again on rank 0 where a file is made of them.

Each layer is a group whose weights the ranks gather just before they need them and drop after; the rest of the backbone is one more, and
each head with something to train another. Shards, gradients and the optimizer's state stay in float32, whatever type a forward computes in.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard

from lightning_embed.encoders.backbone import layer_list
from lightning_embed.encoders.copies import keep_outline

if TYPE_CHECKING:
    from lightning_embed.encoders.text_encoder import TextEncoder


def shard_encoder(
    encoder: "TextEncoder", mesh: DeviceMesh, policy: MixedPrecisionPolicy, keep_root: bool = True
) -> None:
    """Shards an encoder's weights: its layers, the rest of its backbone, and heads that train; one that is sharded stays as it is.

    Args:
        encoder: Changed in place, layer by layer.
        mesh: The ranks: one dimension, or (replicate, shard).
        policy: What its forwards compute in.
        keep_root: Whether the weights outside of the layers stay gathered from a forward to the backward pass.
    """
    backbone = encoder.backbone
    if isinstance(backbone, FSDPModule):
        return
    keep_outline(encoder)
    for layer in layer_list(backbone)[1]:
        fully_shard(layer, mesh=mesh, mp_policy=policy)
    fully_shard(backbone, mesh=mesh, mp_policy=policy, reshard_after_forward=None if keep_root else True)
    shard_heads([encoder.token_heads, encoder.heads], mesh)


def shard_heads(heads: Iterable[nn.Module | None], mesh: DeviceMesh) -> None:
    """Shards what trains beside the encoder, in float32; a head without anything to train stays as it is.

    Args:
        heads: The projection and the losses; called, in a step, by their forward.
        mesh: The ranks.
    """
    for head in heads:
        if head is not None and not isinstance(head, FSDPModule) and any(p.requires_grad for p in head.parameters()):
            fully_shard(head, mesh=mesh)
