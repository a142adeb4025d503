"""Copies of an encoder that share its weights: with its adapter merged in, without it, with another θ, gathered from its shards."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lightning_embed.compat.peft import forget_adapter
from lightning_embed.distributed.collectives import rank
from lightning_embed.distributed.tensors import unshard_state
from lightning_embed.encoders.backbone import change_rope_theta
from lightning_embed.encoders.lora import NAME, adapted_layers
from lightning_embed.encoders.text_encoder import TextEncoder
from lightning_embed.heads.dense import Normalize, first_entries, linear_map

OUTLINE = "unsharded_outline"
"""Attribute of a sharded encoder: itself before sharding, on torch's meta device."""


def copy_encoder(encoder: TextEncoder, parameters: Mapping[int, nn.Parameter] | None = None) -> TextEncoder:
    """A copy with its own modules, and the encoder's own tokenizer and parameters.

    Args:
        encoder: With or without an adapter; it stays as it is.
        parameters: `id` of a parameter -> the one that takes its place in the copy.
    """
    shared: dict[int, Any] = {id(p): p for p in encoder.parameters()} | {id(encoder.tokenizer): encoder.tokenizer}
    with torch.no_grad():
        return copy.deepcopy(encoder, shared | dict(parameters or {}))


def merged(encoder: TextEncoder) -> TextEncoder:
    """The plain encoder that gives an adapted one's vectors: W + (α / r) B A in the place of each linear map.

    Args:
        encoder: Any encoder that is not sharded; none of its weights changes, and those without an adapter are shared.

    Returns:
        The encoder itself if it has no adapter.
    """
    return encoder if encoder.adapter is None else _plain(encoder, lambda layer: layer.get_delta_weight(NAME))


def without_adapter(encoder: TextEncoder) -> TextEncoder:
    """The plain encoder of an adapted one's base; all weights are shared.

    Args:
        encoder: With or without an adapter; it stays as it is.
    """
    return encoder if encoder.adapter is None else _plain(encoder, None)


def _plain(encoder: TextEncoder, delta: Callable[[Any], Tensor] | None) -> TextEncoder:
    """A copy whose adapted layers are plain linear maps again, with what `delta` gives for a layer added to its weight."""
    made = copy_encoder(encoder)
    backbone: Any = made.backbone
    for name, layer in adapted_layers(backbone):
        linear = layer.get_base_layer()
        if delta is not None:
            with torch.no_grad():
                total = linear.weight.float() + delta(layer).float()
            linear.weight = nn.Parameter(total.to(linear.weight.dtype), requires_grad=False)
        backbone.set_submodule(name, linear)
    forget_adapter(backbone)
    made.adapter = made.base = None
    return made


def projected(encoder: TextEncoder, weight: Tensor, bias: Tensor) -> TextEncoder:
    """An encoder whose unit vectors z are Wz + b of another's; all of the other's weights are shared.

    Args:
        encoder: The other, not sharded.
        weight: (E, D) W.
        bias: (E,) b.
    """
    made = copy_encoder(encoder)
    if made.dim < made.width:
        made.heads.append(first_entries(made.width, made.dim))
    made.heads.append(Normalize())
    made.heads.append(linear_map(weight, bias))
    made.width = made.dim = len(weight)
    made.to(encoder.device)
    return made.eval()


def as_exported(encoder: TextEncoder) -> TextEncoder:
    """The encoder that an export is of: with `export_rope_theta` where that is given. All weights are shared.

    Args:
        encoder: Any encoder that is not sharded.
    """
    if encoder.export_rope_theta is None:
        return encoder
    made = copy_encoder(encoder)
    change_rope_theta(made.backbone, encoder.export_rope_theta, encoder.model)
    made.rope_theta, made.export_rope_theta = encoder.export_rope_theta, None
    return made


def keep_outline(encoder: TextEncoder) -> None:
    """Notes, in an encoder that is about to be sharded, what it is before: its modules, with weights on the meta device.

    Args:
        encoder: The encoder; its buffers, such as rotary frequencies, are copied with their values.
    """
    meta = {id(p): nn.Parameter(p.to("meta"), p.requires_grad) for p in encoder.parameters()}
    object.__setattr__(encoder, OUTLINE, copy_encoder(encoder, meta))


def is_fsdp(encoder: nn.Module) -> bool:
    """Whether an encoder's weights are sharded by FSDP2, on one rank or more.

    Args:
        encoder: Any module.
    """
    return OUTLINE in encoder.__dict__


def gathered(encoder: TextEncoder) -> TextEncoder | None:
    """The encoder itself, or, of a sharded one, a copy on the CPU with all weights, on rank 0 (None elsewhere).

    Every rank must call it.

    Args:
        encoder: Sharded or not.
    """
    if not is_fsdp(encoder):
        return encoder
    state = unshard_state(encoder)
    if rank() != 0:
        return None
    made = copy_encoder(encoder.__dict__[OUTLINE])
    made.load_state_dict(state, strict=True, assign=True)
    return made.to("cpu").train(encoder.training)
