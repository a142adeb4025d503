"""What peft keeps to itself: how an adapter is bypassed, where a model notes that it has one, and how its weights are called.

peft is imported in the functions that need it: it imports transformers.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

ADAPTER_WEIGHT = ".lora_"
"""Part of the name of an adapter's weights in a model's state dict, and of no other's: tells what a checkpoint of an adapter holds."""
FILE_PREFIX = "base_model.model."
"""The prefix of the names of weights in adapter_model.safetensors; without it peft would find none of them."""


@contextmanager
def bypassed(layers: Iterable[Any]) -> Iterator[None]:
    """Within it adapted layers are the linear maps of their base.

    peft's public switch also freezes the adapter, and unfreezes it afterwards, which a forward in the middle of a step must not do: DDP
    would no longer know which gradients to wait for. Without this the losses on a reference could not be computed.

    Args:
        layers: peft's layers.
    """
    layers = list(layers)
    for layer in layers:
        layer._disable_adapters = True
    try:
        yield
    finally:
        for layer in layers:
            layer._disable_adapters = False


def adapter_config(backbone: nn.Module, name: str) -> Any:
    """The config that an adapter was put on a model with; without it adapter_config.json could not be written.

    Args:
        backbone: A model with the adapter.
        name: What peft calls it.
    """
    noted: Any = backbone.peft_config
    return noted[name]


def forget_adapter(backbone: nn.Module) -> None:
    """Removes the note that a model has an adapter, once its layers are plain; without it `save_pretrained` would save no weights.

    Args:
        backbone: A model whose adapted layers have been replaced.
    """
    del backbone.peft_config
