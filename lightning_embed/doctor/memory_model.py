"""What a training step needs in memory on each device, estimated from sizes alone: good to about a third.

    weights      P·w                       gradients    4·T                      optimizer    8·T (AdamW's two moments)
    activations  N · [ Σ n·l · e·(k·H + m·I) + q·e·A · Σ n·l² ]
    teacher      P_t·w_t, and n·l · e·(4·H_t + m·I_t) of its largest chunk, of which nothing is kept
    losses       vectors 4·3·(B + M)·D, and 3 slices of the (B, M) matrix of similarities

P parameters of w bytes, T of them trainable, N layers, H hidden, I intermediate, A attention heads; n texts of l tokens (padding
included) in each chunk that is kept for the backward pass: all of the batch, or with checkpoint_chunks only the largest. e is 4 bytes,
2 in mixed precision. The tensors of a layer that autograd keeps were counted on five families: k = 9 and m = 2 for BERT's kind, 12 and
4 with a gated MLP; 13 and 17 instead of 9 and 12 in mixed precision (its norms stay float32); k + 2 with dropout. q matrices of
attention are kept: none by a fused kernel, 1 without one, 3 with dropout and without one. With checkpoint_layers each layer keeps its
input, 4·Σ n·l·H, and one layer of the largest chunk all of the above.

On several devices B are the rows of one of them, M the documents of all, and

    ddp          gradients 8·T: each lies in a bucket too, in which it is exchanged
    fsdp2        weights P·w/S + e·(O + 2·L)    gradients 4·T/S + 4·(T/P)·max(O, L)    optimizer 8·T/S
                 teacher with shard: P_t·w_t/S + e·(O_t + 2·L_t)

with S devices that share the weights (W, or W / replicate with HSDP), L parameters of a layer and O of all that is outside of the
layers. A layer and the next one are gathered whole, in e bytes; what is outside stays gathered, and of a group's gradient each device
has all, in float32, until it is reduced. Activations and losses are not shared out, but each device has its own rows.

Against the peak of three steps on a CPU (Llama's kind with 44 million parameters, 8 layers, H 512; 16 texts of 128 tokens on each of one
or two processes) the estimate was 0.77 of what was measured on one process, 0.70 and 0.78 under ddp, 0.69 and 0.70 under fsdp2.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from lightning_embed.compat.transformers import attention_of
from lightning_embed.encoders.backbone import layer_list
from lightning_embed.losses.slices import SLICE

Chunk = tuple[int, int]
"""n texts, each padded to l tokens."""


@dataclass(frozen=True)
class Size:
    """A backbone in numbers."""

    parameters: int
    trainable: int
    weight_bytes: int
    """Bytes of all its weights."""
    layers: int
    hidden: int
    intermediate: int
    heads: int
    gated: bool = False
    """Whether its MLP multiplies two projections."""
    dropout: bool = False
    """Whether it drops anything in training."""
    fused: bool = True
    """Whether attention keeps no matrix."""
    layer: int = 0
    """Parameters of its largest layer."""

    @property
    def outside(self) -> int:
        """Parameters outside of its layers, most of them the table of tokens."""
        return max(0, self.parameters - self.layers * self.layer)


@dataclass(frozen=True)
class Layout:
    """How weights, gradients and optimizer state lie on the devices."""

    ranks: int = 1
    """W."""
    shard: int = 0
    """Devices that share them (FSDP2); 0: each has all."""

    def __str__(self) -> str:
        if not self.shard:
            return "one device" if self.ranks == 1 else f"ddp on {self.ranks} devices"
        groups = self.ranks // self.shard
        return f"fsdp2 on {self.ranks} devices" + (f", replicate {groups} x shard {self.shard}" if groups > 1 else "")


@dataclass(frozen=True)
class Memory:
    """Bytes by what they are for."""

    weights: int
    gradients: int
    optimizer: int
    activations: int
    teacher: int
    losses: int

    @property
    def total(self) -> int:
        """Their sum."""
        return self.weights + self.gradients + self.optimizer + self.activations + self.teacher + self.losses


def size_of(backbone: nn.Module, on_gpu: bool = False) -> Size:
    """A transformers backbone in numbers.

    Args:
        backbone: The backbone; its weights need not be loaded.
        on_gpu: Whether it runs on a GPU, whose fused attention has dropout too.
    """
    config: Any = backbone.config
    hidden = int(config.hidden_size)
    rates = [v for k, v in config.to_dict().items() if k.endswith(("dropout", "dropout_prob", "pdrop"))]
    attention = [
        v for k, v in config.to_dict().items() if k.startswith("attention") and k.endswith(("dropout", "dropout_prob"))
    ]
    intermediate = int(getattr(config, "intermediate_size", 4 * hidden))
    layers = [sum(p.numel() for p in layer.parameters()) for layer in layer_list(backbone)[1]]
    gated = any(name.endswith(("gate_proj", "mlp.Wi")) for name, _ in backbone.named_modules())
    fused = attention_of(backbone) != "eager" and (on_gpu or not any(attention))
    return Size(
        parameters=sum(p.numel() for p in backbone.parameters()),
        trainable=sum(p.numel() for p in backbone.parameters() if p.requires_grad),
        weight_bytes=sum(p.numel() * p.element_size() for p in backbone.parameters()),
        layers=int(config.num_hidden_layers),
        hidden=hidden,
        intermediate=intermediate,
        heads=int(config.num_attention_heads),
        gated=gated,
        dropout=any(isinstance(rate, int | float) and rate > 0 for rate in rates),
        fused=fused,
        layer=max(layers, default=0),
    )


def activations(size: Size, chunks: Sequence[Chunk], mixed: bool = False, layers_again: bool = False) -> int:
    """Bytes that the backward pass finds kept of some forwards, or keeps itself meanwhile.

    Args:
        size: The backbone.
        chunks: The forwards that are kept at once.
        mixed: Whether they run in mixed precision.
        layers_again: Whether each layer is computed again (checkpoint_layers).
    """
    if layers_again:
        inputs = size.layers * 4 * size.hidden * sum(n * length for n, length in chunks)
        return inputs + max((_kept_by_layer(size, [chunk], mixed) for chunk in chunks), default=0)
    return size.layers * _kept_by_layer(size, chunks, mixed)


def _kept_by_layer(size: Size, chunks: Sequence[Chunk], mixed: bool) -> int:
    each = 2 if mixed else 4
    wide = {(False, False): 9, (True, False): 12, (False, True): 13, (True, True): 17}[size.gated, mixed]
    token = (wide + 2 * size.dropout) * size.hidden + (4 if size.gated else 2) * size.intermediate
    matrices = 0 if size.fused else 3 if size.dropout else 1
    tokens, squares = sum(n * length for n, length in chunks), sum(n * length**2 for n, length in chunks)
    return each * (tokens * token + matrices * size.heads * squares)


def passing(size: Size, chunk: Chunk, mixed: bool = False) -> int:
    """Bytes that a forward without a gradient needs at its height.

    Args:
        size: The backbone.
        chunk: The forward.
        mixed: Whether it runs in mixed precision.
    """
    wide = 4 * size.hidden + (4 if size.gated else 2) * size.intermediate
    return (2 if mixed else 4) * chunk[0] * chunk[1] * wide


def held(size: Size, layout: Layout, mixed: bool) -> int:
    """Bytes of a backbone's weights on one device at the height of a step.

    Args:
        size: The backbone.
        layout: How they lie on the devices.
        mixed: Whether it runs in mixed precision, with which each weight has a 2-byte copy, or is gathered as one.
    """
    if not layout.shard:
        return size.weight_bytes + 2 * size.parameters * mixed
    return -(-size.weight_bytes // layout.shard) + (2 if mixed else 4) * (size.outside + 2 * size.layer)


def gradient_bytes(size: Size, layout: Layout) -> int:
    """Bytes of the gradients on one device at the height of a step.

    Args:
        size: The backbone.
        layout: How they lie on the devices.
    """
    if not layout.shard:
        return (8 if layout.ranks > 1 else 4) * size.trainable
    group = max(size.outside, size.layer) * size.trainable // size.parameters
    return 4 * -(-size.trainable // layout.shard) + 4 * group


def estimate(
    student: Size,
    chunks: Sequence[Chunk],
    *,
    teachers: Sequence[tuple[Size, bool]] = (),
    teacher_chunk: Chunk = (0, 0),
    anchors: int = 0,
    documents: int = 0,
    mixed: bool = False,
    layout: Layout = Layout(),
    layers_again: bool = False,
) -> Memory:
    """What one step needs on one device.

    Args:
        student: Its backbone.
        chunks: Its forwards that are kept at once.
        teachers: The backbones of the teachers that are loaded, and whether each is shared out as the student is.
        teacher_chunk: The largest forward of a teacher.
        anchors: B, this device's rows.
        documents: M, documents of all devices.
        mixed: Whether it runs in mixed precision.
        layout: How weights, gradients and optimizer state lie on the devices.
        layers_again: Whether the student computes each layer again in the backward pass (checkpoint_layers).
    """
    weights = sum(held(one, layout, mixed) if shard and layout.shard else one.weight_bytes for one, shard in teachers)
    return Memory(
        weights=held(student, layout, mixed),
        gradients=gradient_bytes(student, layout),
        optimizer=8 * -(-student.trainable // max(1, layout.shard)),
        activations=activations(student, chunks, mixed, layers_again),
        teacher=weights + max((passing(one, teacher_chunk, mixed) for one, _ in teachers), default=0),
        losses=4 * 3 * (anchors + documents) * student.hidden + 4 * 3 * min(anchors * documents, max(SLICE, documents)),
    )


def available(on_gpu: bool) -> int | None:
    """Bytes of memory that there are: the first GPU's, or the machine's; None where the system does not say.

    Args:
        on_gpu: Which.
    """
    if on_gpu:
        return torch.cuda.get_device_properties(0).total_memory
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return None
