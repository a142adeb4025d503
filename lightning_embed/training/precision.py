"""`trainer.precision: auto`: bfloat16 where this device is faster by it, else float32."""

import time
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F

from lightning_embed.compat.torch import cpu_has_bf16
from lightning_embed.utils.notes import note

AUTO = "auto"
FLOAT32, BF16 = "32-true", "bf16-mixed"
WORTH = 1.15
"""How many times as fast bfloat16 must be on a CPU: below that, timing noise decides, and float32 is more exact."""
FLOPS = 2e9
"""Of one timed product and its gradients."""
TURNS = 3
SMALL = 128
"""Width of a model below which nothing is timed: there is nothing to gain."""


def auto_precision(encoder: Any, accelerator: str = "auto", devices: int | str = 1) -> str:
    """The precision to train an encoder in: `bf16-mixed` on a CUDA GPU, and on a CPU that is measurably faster by it; else `32-true`.

        trainer = L.Trainer(**trainer_defaults("runs/mine"), precision=auto_precision(module.student))

    Several processes on CPUs train in float32: each would measure for itself, and they must agree.

    Args:
        encoder: The student, a `TextEncoder`.
        accelerator: trainer.accelerator.
        devices: trainer.devices, over all nodes.
    """
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        chosen = BF16 if torch.cuda.is_bf16_supported(including_emulation=False) else FLOAT32
        why = "this GPU computes in bfloat16" if chosen == BF16 else "this GPU has no bfloat16"
    elif accelerator not in ("auto", "cpu") or torch.backends.mps.is_available() or devices not in (1, "1", "auto"):
        return FLOAT32
    else:
        gain = bf16_gain(*matrix_shape(encoder))
        chosen = BF16 if gain >= WORTH else FLOAT32
        if matrix_shape(encoder)[0] < SMALL:
            return FLOAT32
        why = f"bfloat16 {_time(gain)} float32"
    note(f"trainer.precision auto: {chosen} ({why})")
    return chosen


def matrix_shape(encoder: Any) -> tuple[int, int]:
    """Rows and columns of an encoder's largest common matrix, that of its feed-forward layers.

    Args:
        encoder: A `TextEncoder`.
    """
    width = int(getattr(encoder.config, "hidden_size", encoder.dim))
    return width, int(getattr(encoder.config, "intermediate_size", None) or 4 * width)


@cache
def bf16_gain(width: int, inner: int) -> float:
    """How many times as fast as in float32 this CPU multiplies in bfloat16 under autocast, forward and backward; 0 without instructions.

    Each is the least of a few turns, taken alternately.

    Args:
        width: Rows of the matrix.
        inner: Its columns.
    """
    if width < SMALL:
        return 1.0
    if not cpu_has_bf16():
        return 0.0
    tokens = int(min(1024, max(64, FLOPS / (6 * width * inner))))
    x, matrix = torch.ones(tokens, width, requires_grad=True), torch.ones(inner, width, requires_grad=True)

    def seconds(enabled: bool) -> float:
        start = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled, cache_enabled=False):
            product = F.linear(x, matrix)
        torch.autograd.grad(product.float().sum(), (x, matrix))
        return time.perf_counter() - start

    with torch.enable_grad():
        turns = [(seconds(False), seconds(True)) for _ in range(TURNS)]
    full, half = (min(each) for each in zip(*turns, strict=True))
    return full / half


def _time(gain: float) -> str:
    """Half a sentence on the time that bfloat16 takes on this CPU."""
    if gain == 0:
        return "has no instructions on this CPU, so it is slower than"
    return f"takes {1 / gain:.2g} times as long for this model's matrix products, on this CPU, as"


def note_slow_precision(precision: str, encoder: Any, device: torch.device) -> None:
    """Notes that a run in bfloat16 would be faster in float32, where a CPU makes it so.

    Args:
        precision: trainer.precision.
        encoder: The student, a `TextEncoder`.
        device: Where it trains.
    """
    if device.type == "cpu" and precision.startswith("bf16") and (gain := bf16_gain(*matrix_shape(encoder))) < 1:
        note(f"trainer.precision {precision}: bfloat16 {_time(gain)} {FLOAT32}")
