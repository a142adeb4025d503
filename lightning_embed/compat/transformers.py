"""What transformers keeps to itself: a model's attention, how masks reach it, and the modules that hold rotary frequencies.

transformers is imported in the functions: it takes seconds, and most commands end before they need it.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn


def attention_of(backbone: nn.Module) -> str:
    """The name of a model's attention function, such as `sdpa`: tells whether texts can be packed, and what memory attention takes.

    Without it packing would have to be refused everywhere.

    Args:
        backbone: A transformers model.
    """
    config: Any = backbone.config
    name: str = config._attn_implementation
    return name


def set_attention(backbone: nn.Module, name: str) -> None:
    """Changes a model's attention function, from its next forward on; without it no text could be packed.

    Not by `set_attn_implementation`, which only warns where a family cannot change it, at every forward: packing is proved on the model
    itself, and such families fail the proof.

    Args:
        backbone: A transformers model.
        name: As `register_attention` was given it, or one of transformers' own.
    """
    config: Any = backbone.config
    config._attn_implementation = name


def register_attention(name: str, function: Callable[..., Any]) -> None:
    """Makes an attention function known to transformers, with the masks that its sdpa gets.

    Without the masks padded chunks, which the same function attends over, would attend to their padding.

    Args:
        name: What to call it.
        function: Called as transformers' `sdpa_attention_forward` is.
    """
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(name, function)
    AttentionMaskInterface.register(name, sdpa_mask)


def sdpa_attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, options: dict[str, Any]
) -> tuple[Tensor, None]:
    """transformers' own sdpa; without it padded chunks would need an attention function of this package.

    Args:
        module: The attention layer.
        query: (B, H, T, d).
        key: (B, H', T, d).
        value: (B, H', T, d).
        attention_mask: As `sdpa_mask` makes it.
        options: The other arguments that transformers called with, by name.
    """
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    attended: tuple[Tensor, None] = sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    return attended


def mask_as_is(backbone: nn.Module, device: torch.device) -> Tensor | None:
    """A mask for a packed row, of which transformers makes no other: one of four dimensions is passed on, and flash attention takes none.

    Without it a T × T mask would be made of each packed row of T tokens.

    Args:
        backbone: A transformers model whose attention does not read the mask.
        device: Where it runs.
    """
    flash = "flash" in attention_of(backbone)
    return None if flash else torch.ones(1, 1, 1, 1, dtype=torch.bool, device=device)


def rotary_modules(backbone: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Name and module of everything in a model that holds rotary frequencies.

    Args:
        backbone: A transformers model.
    """
    for name, module in list(backbone.named_modules()):
        if any(buffer.endswith("inv_freq") for buffer, _ in module.named_buffers(recurse=False)):
            yield name, module


def remake_rotary(module: nn.Module, config: Any) -> nn.Module:
    """A module of rotary frequencies made again, by a changed config; without it no model could be exported with another θ.

    Args:
        module: One of `rotary_modules`.
        config: The model's config.
    """
    device = next(module.buffers(recurse=False)).device
    made: nn.Module = type(module)(config=config)
    return made.to(device).train(module.training)
