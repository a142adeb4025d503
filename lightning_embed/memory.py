"""What a training step needs in memory, estimated from sizes alone: good to about a third, for one process without sharding.

    weights      P·w                       gradients    4·T                      optimizer    8·T (AdamW's two moments)
    activations  N · [ Σ n·l · e·(k·H + m·I) + q·e·A · Σ n·l² ]
    teacher      P_t·w_t, and n·l · e·(4·H_t + m·I_t) of its largest chunk, of which nothing is kept
    losses       vectors 4·3·(B + M)·D, and 3 slices of the (B, M) matrix of similarities

P parameters of w bytes, T of them trainable, N layers, H hidden, I intermediate, A attention heads; n texts of l tokens (padding
included) in each chunk that is kept for the backward pass: all of the batch, or with checkpoint_chunks only the largest. e is 4 bytes,
2 in mixed precision. The tensors of a layer that autograd keeps were counted on five families: k = 9 and m = 2 for BERT's kind, 12 and
4 with a gated MLP; 13 and 17 instead of 9 and 12 in mixed precision (its norms stay float32); k + 2 with dropout. q matrices of
attention are kept: none by a fused kernel, 1 without one, 3 with dropout and without one.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

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
    gated = any(name.endswith(("gate_proj", "mlp.Wi")) for name, _ in backbone.named_modules())
    fused = config._attn_implementation != "eager" and (on_gpu or not any(attention))
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
    )


def activations(size: Size, chunks: Sequence[Chunk], mixed: bool = False) -> int:
    """Bytes that the backward pass finds kept of some forwards.

    Args:
        size: The backbone.
        chunks: The forwards that are kept at once.
        mixed: Whether they run in mixed precision.
    """
    each = 2 if mixed else 4
    wide = {(False, False): 9, (True, False): 12, (False, True): 13, (True, True): 17}[size.gated, mixed]
    token = (wide + 2 * size.dropout) * size.hidden + (4 if size.gated else 2) * size.intermediate
    matrices = 0 if size.fused else 3 if size.dropout else 1
    tokens, squares = sum(n * length for n, length in chunks), sum(n * length**2 for n, length in chunks)
    return size.layers * each * (tokens * token + matrices * size.heads * squares)


def passing(size: Size, chunk: Chunk, mixed: bool = False) -> int:
    """Bytes that a forward without a gradient needs at its height.

    Args:
        size: The backbone.
        chunk: The forward.
        mixed: Whether it runs in mixed precision.
    """
    wide = 4 * size.hidden + (4 if size.gated else 2) * size.intermediate
    return (2 if mixed else 4) * chunk[0] * chunk[1] * wide


def estimate(
    student: Size,
    chunks: Sequence[Chunk],
    teacher: Size | None = None,
    teacher_chunk: Chunk = (0, 0),
    anchors: int = 0,
    documents: int = 0,
    mixed: bool = False,
) -> Memory:
    """What one step needs on one rank.

    Args:
        student: Its backbone.
        chunks: Its forwards that are kept at once.
        teacher: The teacher's backbone, if it is loaded.
        teacher_chunk: The teacher's largest forward.
        anchors: B, this rank's rows.
        documents: M, documents of all ranks.
        mixed: Whether it runs in mixed precision, with which each weight has a 2-byte copy.
    """
    return Memory(
        weights=student.weight_bytes + 2 * student.parameters * mixed,
        gradients=4 * student.trainable,
        optimizer=8 * student.trainable,
        activations=activations(student, chunks, mixed),
        teacher=0 if teacher is None else teacher.weight_bytes + passing(teacher, teacher_chunk, mixed),
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
