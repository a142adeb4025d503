"""Packing: texts end to end in one long row, their boundaries kept, instead of padded beneath each other.

A row holds as many texts as the token budget allows and no padding at all. Positions restart with each text, and attention stays
within it (`attention.py`). Whether a backbone can be packed is not believed but shown (`packing_proof.py`).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lightning_embed.compat.transformers import mask_as_is
from lightning_embed.encoders.packing.attention import use_packed_attention
from lightning_embed.encoders.positions import first_position
from lightning_embed.encoders.token_table import TokenTable


def plan_rows(lengths: Sequence[int], max_tokens: int) -> list[slice]:
    """Cuts texts, sorted from long to short, into packed rows: each takes the next texts until the budget is full.

    Args:
        lengths: Tokens of each text.
        max_tokens: The most tokens in a row; a single text may exceed it and then has a row of its own.
    """
    rows: list[slice] = []
    start = total = 0
    for i, length in enumerate(lengths):
        if i > start and total + length > max_tokens:
            rows.append(slice(start, i))
            start, total = i, 0
        total += length
    return [*rows, slice(start, len(lengths))] if len(lengths) else rows


def positions(lengths: Tensor, first: int = 0) -> Tensor:
    """(T,) each token's place in its own text.

    Args:
        lengths: (n,) tokens of each text, ≥ 1.
        first: Number of a text's first place.
    """
    starts = (lengths.cumsum(0) - lengths).repeat_interleave(lengths)
    return torch.arange(len(starts), device=lengths.device) - starts + first


def run_packed(backbone: nn.Module, ids: Tensor, lengths: Tensor) -> Tensor:
    """The last hidden states of several texts, by one forward over one row.

    Args:
        backbone: A transformers model without a cache.
        ids: (T,) their tokens, one text after the other.
        lengths: (n,) tokens of each text, ≥ 1 unless it is a table, on the CPU.

    Returns:
        (T, D).
    """
    if isinstance(backbone, TokenTable):
        return backbone(ids[None]).last_hidden_state[0]
    use_packed_attention(backbone)
    ends = nn.functional.pad(lengths.cumsum(0), (1, 0)).to(torch.int32).to(ids.device, non_blocking=True)
    longest = int(lengths.max())
    return backbone(
        input_ids=ids[None],
        position_ids=positions(lengths, first_position(backbone)).to(ids.device, non_blocking=True)[None],
        attention_mask=mask_as_is(backbone, ids.device),
        cu_seq_lens_q=ends,
        cu_seq_lens_k=ends,
        max_length_q=longest,
        max_length_k=longest,
    ).last_hidden_state[0]
