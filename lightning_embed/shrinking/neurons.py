"""Which neurons of the feed-forward layers to keep: those that add most to what comes out."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lightning_embed.encoders.backbone import layer_list
from lightning_embed.encoders.text_encoder import TextEncoder
from lightning_embed.errors import UserError

WIDTHS = ("intermediate_size", "hidden_dim", "ffn_dim", "encoder_ffn_dim", "d_ff", "n_inner")
"""What configs call the number of neurons of a feed-forward layer."""


class FeedForward(NamedTuple):
    """The linear maps of one feed-forward layer of I neurons."""

    up: list[nn.Linear]
    """Those that feed the neurons: of I outputs, or of 2 I, the second half of which gates the first."""
    down: nn.Linear
    """That which adds the neurons up."""


def neuron_count(encoder: TextEncoder) -> tuple[str, int]:
    """What the backbone's config calls I, and I.

    Args:
        encoder: Any.

    Raises:
        UserError: The config names none.
    """
    config = encoder.config
    for name in WIDTHS:
        if isinstance(count := getattr(config, name, None), int):
            return name, count
    raise UserError(f"model '{encoder.model}': {config.model_type} does not say how many neurons its layers have")


def feed_forwards(encoder: TextEncoder) -> list[FeedForward]:
    """The feed-forward layer of each of an encoder's layers.

    Args:
        encoder: With plain linear layers.

    Raises:
        UserError: A layer has none that can be told from its attention.
    """
    _, count = neuron_count(encoder)
    hidden = encoder.config.hidden_size
    found = []
    for layer in layer_list(encoder.backbone)[1]:
        linears = [module for module in layer.modules() if isinstance(module, nn.Linear)]
        down = [one for one in linears if (one.in_features, one.out_features) == (count, hidden)]
        up = [one for one in linears if one.out_features in (count, 2 * count) and one.in_features == hidden]
        if len(down) != 1 or not up or count == hidden:
            raise UserError(
                f"model '{encoder.model}': intermediate: the neurons of {encoder.config.model_type} are not plain linear maps"
            )
        found.append(FeedForward(up, down[0]))
    return found


@torch.no_grad()
def contributions(encoder: TextEncoder, run: Any) -> list[Tensor]:
    """(I,) of each layer: Σ_t |a_ti| · ‖w_i‖, with a_ti neuron i's activation at token t and w_i its column of the map that adds it up.

    Args:
        encoder: The model.
        run: Called without arguments; runs the encoder over a sample.
    """
    found = [torch.zeros(layer.down.in_features) for layer in feed_forwards(encoder)]
    with ExitStack() as hooks:
        for total, layer in zip(found, feed_forwards(encoder), strict=True):

            def add(module: nn.Module, inputs: tuple[Tensor, ...], total: Tensor = total) -> None:
                total += inputs[0].abs().float().flatten(0, -2).sum(0).cpu()

            hooks.callback(layer.down.register_forward_pre_hook(add).remove)
        run()
    norms = [layer.down.weight.float().norm(dim=0).cpu() for layer in feed_forwards(encoder)]
    return [total * norm for total, norm in zip(found, norms, strict=True)]


def strongest(contributed: Sequence[Tensor], kept: int) -> list[Tensor]:
    """(kept,) of each layer: its strongest neurons, in their order.

    Args:
        contributed: (I,) of each layer.
        kept: How many.
    """
    return [one.topk(kept).indices.sort().values for one in contributed]


@torch.no_grad()
def keep_neurons(encoder: TextEncoder, neurons: Sequence[Tensor]) -> None:
    """Leaves some neurons of each layer in an encoder; the weights are new ones, and the encoder's others stay.

    Args:
        encoder: Changed in place.
        neurons: (kept,) of each layer, as many in each.
    """
    name, count = neuron_count(encoder)
    for layer, kept in zip(feed_forwards(encoder), neurons, strict=True):
        for linear in layer.up:
            rows = kept if linear.out_features == count else torch.cat([kept, kept + count])
            _rows(linear, rows.to(linear.weight.device))
        layer.down.weight = nn.Parameter(layer.down.weight[:, kept.to(layer.down.weight.device)].clone())
        layer.down.in_features = len(kept)
    setattr(encoder.config, name, len(neurons[0]))


def _rows(linear: nn.Linear, rows: Tensor) -> None:
    linear.weight = nn.Parameter(linear.weight[rows].clone())
    if linear.bias is not None:
        linear.bias = nn.Parameter(linear.bias[rows].clone())
    linear.out_features = len(rows)


def smaller(count: int) -> Iterator[int]:
    """Numbers of neurons to try where any will do: all, three quarters, half and a quarter, in whole multiples of 8.

    Args:
        count: All of them.
    """
    yield count
    for quarters in (3, 2, 1):
        yield max(8, count * quarters // 4 // 8 * 8)
