"""Which layers to keep: those without which the vectors move least go first."""

from collections.abc import Callable, Sequence

import torch
from torch import nn

from lightning_embed.encoders.backbone import layer_list, pick_layers, set_layer_count
from lightning_embed.encoders.copies import copy_encoder
from lightning_embed.encoders.text_encoder import TextEncoder
from lightning_embed.errors import UserError
from lightning_embed.utils.activity import Activity


def with_layers(encoder: TextEncoder, layers: Sequence[int]) -> TextEncoder:
    """An encoder that runs some of another's layers; all weights are shared.

    Args:
        encoder: The other; it stays as it is.
        layers: Indices from 0, in order.
    """
    made = copy_encoder(encoder)
    name, found = layer_list(made.backbone)
    made.backbone.set_submodule(name, nn.ModuleList([found[i] for i in layers]))
    set_layer_count(made.backbone.config, layers)
    return made


def removable(encoder: TextEncoder) -> set[int]:
    """The layers without which a model of the same family can be built: not the first of T5, which holds what all others read.

    Args:
        encoder: With all its layers.
    """
    from transformers import AutoModel

    count = len(layer_list(encoder.backbone)[1])
    found = set()
    with torch.device("meta"):
        outline = AutoModel.from_config(encoder.config)
        for layer in range(count):
            try:
                pick_layers(outline, [i for i in range(count) if i != layer], encoder.model)
            except UserError:
                continue
            found.add(layer)
    return found


def drop_layers(count: int, kept: int, removable: set[int], score: Callable[[list[int]], float]) -> list[list[int]]:
    """Removes one layer at a time, the one whose removal leaves the highest score.

    Gromov et al. 2024, *The Unreasonable Ineffectiveness of the Deeper Layers*, and Men et al. 2024, *ShortGPT*, rank layers by how little
    they change their own input; here the final vectors decide.

    Args:
        count: Layers of the whole model.
        kept: Layers that are left at the end, ≥ 1.
        removable: Layers that may go.
        score: Maps indices of layers to how near the vectors then are; the higher, the better.

    Returns:
        The layers that are left after each removal, from `count` of them to `kept`.

    Raises:
        UserError: More layers must stay.
    """
    path, shown = [list(range(count))], Activity()
    try:
        while len(path[-1]) > kept:
            choices = [[i for i in path[-1] if i != layer] for layer in path[-1] if layer in removable]
            if not choices:
                raise UserError(
                    f"layers: {len(path[-1])} of this model's {count} layers cannot be left out, got {kept}"
                )
            scored = []
            for choice in choices:
                if shown.due():
                    shown.show(
                        f"which {kept} of {count} layers", f"{len(choice)} left", count - len(choice), count - kept
                    )
                scored.append(score(choice))
            path.append(choices[max(range(len(choices)), key=scored.__getitem__)])
    finally:
        shown.close()
    return path


def evenly_spaced(count: int, kept: int) -> list[int]:
    """Layers from the first to the last at equal distances, as one picks them without looking.

    Args:
        count: Layers of the whole model.
        kept: How many, ≥ 1; one alone is the last.
    """
    return [count - 1] if kept == 1 else [round(i * (count - 1) / (kept - 1)) for i in range(kept)]
