"""Shows on the real model, in a few texts, that packing changes no vector and no gradient, and refuses it where it does.

Two things are asked of texts in one row, whatever the backbone does inside:

    ‖packed_i − alone_i‖ / ‖alone_i‖              a text has the vector, and the gradient, that it has alone: up to rounding
    ‖packed_i − packed_i′‖ / ‖packed_i‖           a text keeps its vector when its neighbours change: nearly to the bit in any precision
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lightning_embed.compat.transformers import attention_of
from lightning_embed.distributed.collectives import is_sharded, rank
from lightning_embed.encoders.packing.attention import HALF, NAME, compute_dtype
from lightning_embed.encoders.packing.rows import run_packed
from lightning_embed.errors import UserError, in_one_line
from lightning_embed.tokenizer import TextTokenizer

Packing = Literal["auto", "on", "off"]
Pool = Callable[[Tensor, Tensor], Tensor]
"""(n, T, D) padded or (T, D) packed hidden states and (n,) lengths -> (n, D) vectors."""
EQUAL = 1e-4
"""Largest relative difference that counts as equal in float32, and between neighbours in any precision."""
BOUNDS = {torch.float32: EQUAL, torch.float16: 2e-2, torch.bfloat16: 1e-1}
"""The same against single texts, by what the backbone computes in: the rounding of a deep one, with room."""
LENGTHS = (5, 150, 1, 80, 33)
"""Tokens of the proof's texts; the longest grows by a local layer's window, so that the window is seen."""


def proves(setting: Packing, backbone: nn.Module, pool: Pool, tokenizer: TextTokenizer, model: str) -> bool:
    """Whether a backbone may be packed where it now is, in the type that it now computes in.

    Args:
        setting: `on` or `auto`.
        backbone: A transformers model on its device.
        pool: Makes vectors of its hidden states, as `TextEncoder.pool` does.
        tokenizer: Its tokenizer.
        model: What the user wrote, for messages.

    Raises:
        UserError: If the setting is `on` and packing changes the vectors; the message has the difference.
    """
    weights = _weights_dtype(backbone)
    dtype = compute_dtype(_device(backbone), weights)
    if setting == "auto" and dtype not in HALF:  # no kernel computes in float32
        return False
    failure = refusal(backbone, pool, tokenizer, model, list(dict.fromkeys([weights, dtype])))
    if failure and setting == "on":
        raise UserError(f"packing: on: {failure}; set packing: off")
    if failure and rank() == 0:
        print(f"note: packing: auto: {failure}; its texts are padded", file=sys.stderr)
    return failure is None


def _device(backbone: nn.Module) -> torch.device:
    return next(backbone.parameters()).device


def _weights_dtype(backbone: nn.Module) -> torch.dtype:
    """The type of the backbone's weights while it runs, which FSDP's mixed precision makes another than that of the shards."""
    if not is_sharded(backbone):
        return next(backbone.parameters()).dtype
    seen: list[torch.dtype] = []
    linear = next(module for module in backbone.modules() if isinstance(module, nn.Linear))
    hook = linear.register_forward_hook(lambda module, _, __: seen.append(module.weight.dtype))
    with _undisturbed(backbone), torch.no_grad():
        backbone(input_ids=torch.zeros(1, 1, dtype=torch.long, device=_device(backbone)))
    hook.remove()
    return seen[0]


def refusal(
    backbone: nn.Module, pool: Pool, tokenizer: TextTokenizer, model: str, kinds: Sequence[torch.dtype]
) -> str | None:
    """Why a backbone must not be packed, with the difference; None where packing changes nothing.

    Args:
        backbone: A transformers model on its device.
        pool: Makes vectors of its hidden states, as `TextEncoder.pool` does.
        tokenizer: Its tokenizer.
        model: What the user wrote, for messages.
        kinds: What it is to compute in: its weights' type first, which shows what the rounding of half precision would hide, then
            that of autocast, if it is to run in one.
    """
    attention = attention_of(backbone)
    hint = "" if attention in ("sdpa", NAME) else f", attention {attention}"
    who = f"model '{model}' ({type(backbone).__name__}{hint})"
    for kind in kinds:
        half = kind if kind in HALF else None
        try:
            with torch.autocast(_device(backbone).type, half, enabled=kind != kinds[0]):
                single, neighbours = (error(backbone, pool, tokenizer) for error in (packing_error, neighbour_error))
        except (
            RuntimeError,
            TypeError,
            ValueError,
        ) as failure:  # no kernel for this GPU or head size, unknown arguments
            return f"{who} does not run packed ({in_one_line(failure)})"
        name = str(kind).removeprefix("torch.")
        if single > BOUNDS[kind]:
            return f"{who} gives packed texts vectors that differ by {single:.1e} from single ones ({name}; at most {BOUNDS[kind]:.0e})"
        if neighbours > EQUAL:
            return f"{who} lets a text's neighbours change its vector by {neighbours:.1e} ({name}; at most {EQUAL:.0e})"
    return None


def packing_error(backbone: nn.Module, pool: Pool, tokenizer: TextTokenizer) -> float:
    """The greatest relative difference between packed and single texts, of their vectors and of their gradients.

    The texts are a few ragged ones of random tokens, without dropout; the gradient is that of their token embeddings, and is looked
    at where the backbone trains and its weights are not sharded over ranks.

    Args:
        backbone: A transformers model; its state, its gradients and its random numbers are left as they were.
        pool: Makes vectors of its hidden states, as `TextEncoder.pool` does.
        tokenizer: Its tokenizer.
    """
    trains = any(p.requires_grad for p in backbone.parameters()) and not is_sharded(backbone)
    with _undisturbed(backbone), torch.set_grad_enabled(trains):
        ids, lengths = _texts(backbone, tokenizer)
        packed = _vectors_and_gradients(backbone, pool, ids, lengths, packed=True)
        singles = [
            _vectors_and_gradients(backbone, pool, one, torch.tensor([len(one)]), packed=False)[0]
            for one in ids.split(lengths.tolist())
        ]
    return max(_difference(p, s) for i, single in enumerate(singles) for p, s in zip(packed[i], single, strict=True))


def neighbour_error(backbone: nn.Module, pool: Pool, tokenizer: TextTokenizer) -> float:
    """The greatest relative change of a packed text's vector when every other text of the row gets other tokens.

    Args:
        backbone: A transformers model; it is left as it was.
        pool: Makes vectors of its hidden states, as `TextEncoder.pool` does.
        tokenizer: Its tokenizer.
    """
    with _undisturbed(backbone), torch.no_grad():
        ids, lengths = _texts(backbone, tokenizer)
        changes = torch.arange(len(lengths)).repeat_interleave(lengths).to(ids.device) % 2 == 1
        rows = (ids, torch.where(changes, ids.flip(0), ids))
        before, after = (_vectors_and_gradients(backbone, pool, row, lengths, packed=True) for row in rows)
    return max(_difference(after[i][0], before[i][0]) for i in range(0, len(lengths), 2))


def _texts(backbone: nn.Module, tokenizer: TextTokenizer) -> tuple[Tensor, Tensor]:
    """(T,) random tokens of a few texts, on the backbone's device, and their (n,) lengths."""
    config: Any = backbone.config
    limit, window = tokenizer.max_length, getattr(config, "sliding_window", None) or 0
    lengths = torch.tensor([min(n + (window if n == max(LENGTHS) else 0), limit) for n in LENGTHS])
    padding = {tokenizer.pad_id, getattr(config, "pad_token_id", None)}
    known = torch.tensor([i for i in range(config.vocab_size) if i not in padding])
    drawn = torch.randint(len(known), (int(lengths.sum()),), generator=torch.Generator().manual_seed(0))
    return known[drawn].to(_device(backbone)), lengths


@contextmanager
def _undisturbed(backbone: nn.Module) -> Iterator[None]:
    """Runs the backbone without dropout and leaves nothing behind, whatever it is in the middle of."""
    modes = [(module, module.training) for module in backbone.modules()]
    kind = _device(backbone).type
    on, half = torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)
    try:
        backbone.eval()
        # Autocast keeps the weights that it casts, in older torch even those cast without a gradient, for the step around this.
        with torch.inference_mode(False), torch.autocast(kind, half, enabled=on, cache_enabled=False):
            yield
    finally:
        for module, mode in modes:
            module.training = mode


def _vectors_and_gradients(
    backbone: nn.Module, pool: Pool, ids: Tensor, lengths: Tensor, packed: bool
) -> list[list[Tensor]]:
    """Of each text its vector and, where gradients are on, the gradient of its token embeddings, in float32."""
    embedded: list[Tensor] = []

    def keep(_: nn.Module, __: Any, output: Tensor) -> Tensor:
        embedded.append(output.detach().requires_grad_(torch.is_grad_enabled()))
        return embedded[0]

    hook = backbone.get_input_embeddings().register_forward_hook(keep)  # type: ignore[operator]
    try:
        hidden = run_packed(backbone, ids, lengths) if packed else backbone(input_ids=ids[None]).last_hidden_state
        vectors = pool(hidden, lengths.to(ids.device))
    finally:
        hook.remove()
    found = [[vector] for vector in vectors.detach().float()]
    if torch.is_grad_enabled():
        toward = torch.randn(vectors.shape[1], generator=torch.Generator().manual_seed(1)).to(vectors.device)
        (gradient,) = torch.autograd.grad((vectors.float() @ toward).sum(), embedded[0])
        for one, part in zip(found, gradient[0].float().split(lengths.tolist()), strict=True):
            one.append(part)
    return found


def _difference(found: Tensor, wanted: Tensor) -> float:
    """‖found − wanted‖ / ‖wanted‖; infinite where either is not a number."""
    relative = float((found - wanted).norm() / wanted.norm().clamp(min=1e-12))
    return relative if relative == relative else float("inf")
