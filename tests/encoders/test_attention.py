"""Attention over a packed row is that of a block mask, on the CPU and in what a GPU's kernel is asked for."""

import inspect
import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_embed.encoders.packing.attention import attend_each, attend_varlen


def dense(q: Tensor, k: Tensor, v: Tensor, bounds: list[int], left: int, right: int, scale: float) -> Tensor:
    """Softmax over a whole T×T matrix with a mask filled in by two loops."""
    groups, tokens = q.shape[1] // k.shape[1], q.shape[2]
    allowed = torch.zeros(tokens, tokens, dtype=torch.bool)
    for start, stop in pairwise(bounds):
        for i in range(start, stop):
            for j in range(start, stop):
                allowed[i, j] = (left < 0 or i - j <= left) and (right < 0 or j - i <= right)
    k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
    weights = (q @ k.transpose(2, 3) * scale).masked_fill(~allowed, -math.inf).softmax(-1)
    return (weights @ v).transpose(1, 2)


@pytest.mark.parametrize("window", [None, 3, 100])
@pytest.mark.parametrize("causal", [True, False])
def test_each_text_is_attended_to_as_by_a_block_mask(causal: bool, window: int | None) -> None:
    bounds = [0, 7, 8, 13, 18, 23]  # three of one length are one call
    q, k, v = (torch.randn(1, h, 23, 4, dtype=torch.float64) for h in (4, 2, 2))
    reach = -1 if window is None else window - 1
    wanted = dense(q, k, v, bounds, reach, 0 if causal else reach, 0.3)
    torch.testing.assert_close(attend_each(q, k, v, bounds, causal, window, 0.3, 0.0), wanted)


@pytest.mark.parametrize("window", [None, 3])
@pytest.mark.parametrize("causal", [True, False])
def test_the_varlen_kernel_is_asked_for_the_same(
    monkeypatch: pytest.MonkeyPatch, causal: bool, window: int | None
) -> None:
    """The kernel runs on a GPU only: here a stand-in of its documented meaning takes what would be passed to it."""
    from torch.nn.attention import varlen

    signature = inspect.signature(varlen.varlen_attn)

    def kernel(*given: Any, **named: Any) -> Tensor:
        got = signature.bind(*given, **named).arguments
        q, k, v = got["query"], got["key"], got["value"]  # (T, H, d)
        assert q.shape == k.shape == v.shape and all(x.is_contiguous() for x in (q, k, v))
        assert got["cu_seq_q"].dtype == got["cu_seq_k"].dtype == torch.int32 and (got["max_q"], got["max_k"]) == (7, 7)
        q, k, v = (x.transpose(0, 1)[None] for x in (q, k, v))
        return dense(q, k, v, got["cu_seq_q"].tolist(), *got["window_size"], got["scale"])[0]

    monkeypatch.setattr(varlen, "varlen_attn", kernel)
    bounds, (q, k, v) = [0, 7, 8, 13], (torch.randn(1, h, 13, 4, dtype=torch.float64) for h in (4, 2, 2))
    got = attend_varlen(q, k, v, torch.tensor(bounds, dtype=torch.int32), 7, causal, window, 0.3)
    torch.testing.assert_close(got, attend_each(q, k, v, bounds, causal, window, 0.3, 0.0))
