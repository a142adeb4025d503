"""A LoRA adapter on a frozen backbone: the student's second stage, one adapter for each task.

    W x  becomes  W x + (α / r) B A x        A: (r, in) drawn from N(0, 1/r²), B: (out, r) zero, so that it starts from W

Hu et al. 2021, *LoRA: Low-Rank Adaptation of Large Language Models* (arXiv 2106.09685), by peft's layers, which take the place of the
linear maps; the backbone's class, forward and config stay what they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import nn

from lightning_embed.compat.peft import ADAPTER_WEIGHT, bypassed
from lightning_embed.encoders.backbone import layer_list
from lightning_embed.encoders.folder_heads import HeadSettings, heads_identity
from lightning_embed.errors import UserError, first_line
from lightning_embed.utils.described import Described
from lightning_embed.utils.hashing import weights_hash
from lightning_embed.utils.numbers import check_number

NAME = "default"
"""peft's name of a model's only adapter."""
ADAPTERS_FOLDER = "adapters"
"""Folder, within an exported model's, of one peft folder for each task."""
BASE_WEIGHTS = "base_weights"
"""Where adapter_model.safetensors notes hashes of the weights of its base."""


@dataclass
class Adapter(Described):
    """A LoRA adapter: of the backbone it alone trains."""

    rank: int = 32
    """r ≥ 1, the rank of what is added to each linear map."""
    alpha: float = 32.0
    """α > 0: what is added is scaled by α / r."""
    dropout: float = 0.1
    """Probability of dropping an entry of the adapter's input in training, from 0 to below 1."""
    targets: list[str] | None = None
    """Names, or ends of names, of the linear maps that get one, such as [q_proj, v_proj]. None: all those of the layers."""

    def __post_init__(self) -> None:
        check_number("adapter: rank", self.rank, least=1, whole=True)
        check_number("adapter: alpha", self.alpha, above=0)
        check_number("adapter: dropout", self.dropout, least=0, below=1)


def linear_maps(backbone: nn.Module) -> list[str]:
    """Names, within a layer, of all linear maps of a backbone's layers, such as `self_attn.q_proj`.

    Args:
        backbone: A transformers model without an adapter.
    """
    _, layers = layer_list(backbone)
    return list(dict.fromkeys(n for layer in layers for n, m in layer.named_modules() if isinstance(m, nn.Linear)))


def attach(backbone: nn.Module, adapter: Adapter, model: str) -> None:
    """Freezes a backbone and puts an adapter on it, in float32 whatever the backbone's type, for small steps would be lost in half.

    Args:
        backbone: A transformers model; it is changed in place.
        adapter: Which adapter.
        model: What the user calls the model, for messages.

    Raises:
        UserError: If a target is none of its linear maps.
    """
    from peft import LoraConfig, inject_adapter_in_model

    known = linear_maps(backbone)
    if not known:
        raise UserError(
            f"model '{model}': adapter: {type(backbone).__name__} has no torch.nn.Linear in its layers (GPT-2's are Conv1D); an adapter "
            "goes on those alone, so train the whole student"
        )
    targets = known if adapter.targets is None else list(adapter.targets)
    unknown = [t for t in targets if not any(f".{name}".endswith(f".{t}") for name in known)]
    if unknown:
        raise UserError(
            f"model '{model}': adapter: targets: expected some of {', '.join(known)}, got {', '.join(unknown)}"
        )
    config = LoraConfig(
        r=adapter.rank,
        lora_alpha=adapter.alpha,  # type: ignore[arg-type]  # any number serves: it is only divided by r
        lora_dropout=adapter.dropout,
        target_modules=targets,
        init_lora_weights="gaussian",
        bias="none",
        task_type="FEATURE_EXTRACTION",
    )
    try:
        inject_adapter_in_model(config, backbone, adapter_name=NAME)
    except ValueError as error:  # Mamba's kernels go past its layers' forward
        raise UserError(f"model '{model}': adapter: peft cannot adapt it ({first_line(error, 200)})") from None
    for name, parameter in backbone.named_parameters():
        parameter.requires_grad_(is_adapters(name))
        if is_adapters(name):
            parameter.data = parameter.data.float()


def is_adapters(name: str) -> bool:
    """Whether a weight belongs to an adapter rather than to its base.

    Args:
        name: Its name in a state dict.
    """
    return ADAPTER_WEIGHT in name


def adapted_layers(backbone: nn.Module) -> list[tuple[str, Any]]:
    """Name and layer of each linear map that has an adapter.

    Args:
        backbone: Any backbone.
    """
    from peft.tuners.lora import LoraLayer

    return [(name, module) for name, module in backbone.named_modules() if isinstance(module, LoraLayer)]


@contextmanager
def adapter_off(backbone: nn.Module) -> Iterator[None]:
    """Within it the backbone is its base; the adapter stays as trainable as it was.

    Args:
        backbone: A backbone with an adapter.
    """
    with bypassed(layer for _, layer in adapted_layers(backbone)):
        yield


def base_identity(model: str, folder: Path, layers: Sequence[int] | None, heads: HeadSettings) -> dict[str, Any]:
    """What tells an adapter's base from another: its weights, which of its layers, and its heads, if it has any.

    Args:
        model: What the user wrote.
        folder: Where its files are.
        layers: Which layers are kept; None: all.
        heads: The folder's Dense and Normalize modules.
    """
    own = {"model": model, "weights": weights_hash(folder), "layers": layers}
    return own | ({"heads": found} if (found := heads_identity(heads)) else {})


def settings_of(adapter: Adapter) -> dict[str, Any]:
    """What must be the same for an adapter's weights to mean the same; dropout need not be.

    Args:
        adapter: The adapter.
    """
    return {name: value for name, value in asdict(adapter).items() if name != "dropout"}
