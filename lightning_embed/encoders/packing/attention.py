"""Attention over a packed row: several texts end to end, each token seeing its own text and no other.

    out_i = Σ_j softmax_j(scale · q_i·k_j) v_j    over the j of i's text, with j ≤ i if causal, and |i − j| < window in a local layer

transformers finds it under `NAME` and calls it in every layer. Where no boundaries are given it is transformers' own sdpa. With
them, a varlen kernel does all texts at once on a GPU; elsewhere those of one length are one call. Neither makes a T×T mask.
"""

from collections.abc import Sequence
from itertools import groupby, pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from lightning_embed.compat.transformers import attention_of, register_attention, sdpa_attention, set_attention

NAME = "packed_sdpa"
HALF = (torch.bfloat16, torch.float16)
UNKNOWN = ("position_bias", "softcap", "s_aux")
"""What a backbone may ask of its attention and this one does not do."""


def use_packed_attention(backbone: nn.Module) -> None:
    """Lets a backbone that attends by sdpa attend by this module's function, which is sdpa where nothing is packed.

    It stays so: layers that checkpoint their activations attend again in the backward pass.

    Args:
        backbone: A transformers model; one with another attention (flash, eager) keeps it.
    """
    if attention_of(backbone) == "sdpa":
        register_attention(NAME, packed_attention)
        set_attention(backbone, NAME)


def has_kernel(backbone: nn.Module, device: torch.device) -> bool:
    """Whether a varlen kernel runs here in half precision: on NVIDIA GPUs since Ampere, torch's or flash-attn's.

    Args:
        backbone: A transformers model.
        device: Where it runs.
    """
    attention = attention_of(backbone)
    known = attention in ("sdpa", NAME) or "flash" in attention
    return known and device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)


def compute_dtype(device: torch.device, dtype: torch.dtype) -> torch.dtype:
    """What matrix products are computed in: autocast's type where it is on, else the weights' own.

    Args:
        device: Where.
        dtype: The weights' type.
    """
    on = torch.is_autocast_enabled(device.type)
    return torch.get_autocast_dtype(device.type) if on and dtype == torch.float32 else dtype


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    is_causal: bool | None = None,
    cu_seq_lens_q: Tensor | None = None,
    max_length_q: int | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """The function that transformers calls: (1, H, T, d) queries and (1, H', T, d) keys and values of a row in, (1, T, H, d) out.

    Args:
        module: The attention layer; its `is_causal` counts unless `is_causal` is given.
        query: (B, H, T, d).
        key: (B, H', T, d), H' dividing H.
        value: (B, H', T, d).
        attention_mask: Mask of a padded chunk; not read where boundaries are given.
        dropout: Probability of dropping an attention weight.
        scaling: Factor of the products; None: 1/√d.
        sliding_window: A token sees those less than this far away; None: all.
        is_causal: Whether a token sees only those before it.
        cu_seq_lens_q: (n + 1,) int32, where each text of the row begins, and T; None: nothing is packed.
        max_length_q: Tokens of the longest text.
        others: What else the layer passes.
    """
    if cu_seq_lens_q is None or max_length_q is None:
        given = {"dropout": dropout, "scaling": scaling, "is_causal": is_causal, "sliding_window": sliding_window}
        return sdpa_attention(module, query, key, value, attention_mask, others | given)
    asked = [name for name in UNKNOWN if others.get(name) is not None]
    if asked or len(query) != 1:
        raise NotImplementedError(f"{type(module).__name__} asks for {', '.join(asked) or 'several rows'}")
    causal = bool(getattr(module, "is_causal", True) if is_causal is None else is_causal)
    dtype = compute_dtype(query.device, query.dtype)
    query, key, value = query.to(dtype), key.to(dtype), value.to(dtype)
    if query.is_cuda and dtype in HALF and dropout == 0:  # torch's kernel knows no dropout
        out = attend_varlen(query, key, value, cu_seq_lens_q, max_length_q, causal, sliding_window, scaling)
    else:
        out = attend_each(query, key, value, cu_seq_lens_q.tolist(), causal, sliding_window, scaling, dropout)
    return out, None


def attend_varlen(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    boundaries: Tensor,
    longest: int,
    causal: bool,
    window: int | None,
    scale: float | None,
) -> Tensor:
    """All texts of a row by torch's varlen kernel; (1, T, H, d).

    Args:
        query: (1, H, T, d), half precision, on a GPU.
        key: (1, H', T, d).
        value: (1, H', T, d).
        boundaries: (n + 1,) int32 on the GPU, where each text begins, and T.
        longest: Tokens of the longest text.
        causal: Whether a token sees only those before it.
        window: A token sees those less than this far away; None: all.
        scale: Factor of the products; None: 1/√d.
    """
    from torch.nn.attention.varlen import varlen_attn

    groups = query.shape[1] // key.shape[1]
    flat = [x[0].transpose(0, 1) for x in (query, key, value)]  # (T, H, d)
    q, k, v = flat[0], *(x.repeat_interleave(groups, dim=1) if groups > 1 else x for x in flat[1:])
    reach = -1 if window is None else window - 1  # the kernel's bounds are inclusive, and −1 is none
    sides = (reach, 0 if causal else reach)
    out = varlen_attn(
        q.contiguous(), k.contiguous(), v.contiguous(), boundaries, boundaries, longest, longest,
        scale=scale, window_size=sides,
    )  # fmt: skip
    return cast(Tensor, out)[None]


@torch.compiler.disable  # compiled, the loop over texts would be unrolled again for each batch
def attend_each(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    boundaries: Sequence[int],
    causal: bool,
    window: int | None,
    scale: float | None,
    dropout: float,
) -> Tensor:
    """The texts of a row by sdpa, neighbours of one length in one call; (1, T, H, d).

    Args:
        query: (1, H, T, d).
        key: (1, H', T, d).
        value: (1, H', T, d).
        boundaries: Where each text begins, and T.
        causal: Whether a token sees only those before it.
        window: A token sees those less than this far away; None: all.
        scale: Factor of the products; None: 1/√d.
        dropout: Probability of dropping an attention weight.
    """
    groups = [(length, len(list(same))) for length, same in groupby(b - a for a, b in pairwise(boundaries))]
    sizes = [length * n for length, n in groups]
    parts = []
    # split, not slices: the backward pass of a slice fills a tensor as large as the row with zeros, that of a split joins the parts
    for (length, n), *split in zip(groups, *(x[0].split(sizes, dim=1) for x in (query, key, value)), strict=True):
        q, k, v = (x.unflatten(1, (n, length)).transpose(0, 1) for x in split)  # (n, H, length, d)
        local = None if window is None or length <= window else local_mask(length, window, causal, q.device)
        out = functional.scaled_dot_product_attention(
            q, k, v, attn_mask=local, dropout_p=dropout, is_causal=causal and local is None, scale=scale,
            enable_gqa=q.shape[1] != k.shape[1],
        )  # fmt: skip
        parts.append(out.transpose(1, 2).flatten(0, 1))
    return torch.cat(parts)[None]


def local_mask(tokens: int, window: int, causal: bool, device: torch.device) -> Tensor:
    """(T, T) whether token i sees token j of a text longer than the window: |i − j| < window, and j ≤ i if causal.

    Args:
        tokens: T.
        window: How near.
        causal: Whether only backwards.
        device: Where.
    """
    place = torch.arange(tokens, device=device)
    ahead = place[None, :] - place[:, None]
    return (ahead.abs() < window) & (ahead <= 0) if causal else ahead.abs() < window
