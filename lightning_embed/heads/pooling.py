"""From a vector per token to a vector per text."""

from typing import Literal

import torch
from torch import Tensor

Pooling = Literal["last_token", "mean", "cls"]
EPS = 1e-12
"""Length below which a vector counts as zero."""


def pool(hidden: Tensor, lengths: Tensor, pooling: Pooling) -> Tensor:
    """One vector per text: its last token's, the mean of its tokens', or its first token's.

    Args:
        hidden: (B, T, D) the backbone's last hidden state; rows are padded on the right.
        lengths: (B,) real tokens of each row, on the device of `hidden`; a row of none, as a static model may have, gets the mean 0.
        pooling: `last_token`, `mean` or `cls`.

    Returns:
        (B, D), not normalised.
    """
    if pooling == "cls":
        return hidden[:, 0]
    if pooling == "last_token":
        return hidden[torch.arange(len(hidden), device=hidden.device), lengths - 1]
    real = torch.arange(hidden.shape[1], device=hidden.device)[None, :] < lengths[:, None]
    total = (hidden.float() * real[..., None]).sum(dim=1)  # bfloat16 would lose the small terms of a long sum
    return (total / lengths.clamp(min=1)[:, None]).to(hidden.dtype)


def pool_packed(hidden: Tensor, lengths: Tensor, pooling: Pooling) -> Tensor:
    """`pool` of texts that lie end to end in one packed row.

    Args:
        hidden: (T, D) the backbone's last hidden state.
        lengths: (n,) tokens of each text, T in all.
        pooling: `last_token`, `mean` or `cls`.

    Returns:
        (n, D), not normalised.
    """
    lengths = lengths.to(hidden.device)
    ends = lengths.cumsum(0)
    if pooling == "cls":
        return hidden[ends - lengths]
    if pooling == "last_token":
        return hidden[ends - 1]
    owner = torch.repeat_interleave(lengths, output_size=len(hidden))
    total = hidden.new_zeros(len(lengths), hidden.shape[1], dtype=torch.float32).index_add(0, owner, hidden.float())
    return (total / lengths.clamp(min=1)[:, None]).to(hidden.dtype)


def normalize(vectors: Tensor) -> Tensor:
    """Scales each vector to length 1; one shorter than `EPS` becomes zero and gets a zero gradient, not an infinite one.

    Args:
        vectors: (..., D).
    """
    length = vectors.norm(dim=-1, keepdim=True)
    return vectors * ((length > EPS) / length.clamp(min=EPS))
