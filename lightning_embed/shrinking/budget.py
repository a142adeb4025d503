"""Which cuts of a model fit into a given size."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import nn

from lightning_embed.encoders.backbone import layer_list
from lightning_embed.encoders.text_encoder import TextEncoder
from lightning_embed.errors import UserError
from lightning_embed.shrinking.cuts import BYTES, tokenizer_bytes
from lightning_embed.shrinking.neurons import feed_forwards, neuron_count


@dataclass(frozen=True)
class Sizes:
    """What the parts of a model take, in bytes."""

    layers: int
    """How many there are."""
    rest: int
    """All but layers and tokens."""
    layer: int
    """One layer without its neurons."""
    neuron: int
    """One neuron of one layer; 0 where neurons cannot be cut."""
    neurons: int
    """Of one layer."""
    token: int
    """One token of the vocabulary, its entry in the tokenizer's file included."""

    def of(self, layers: int, neurons: int, tokens: int) -> int:
        """A cut's bytes.

        Args:
            layers: How many are left.
            neurons: How many are left in each.
            tokens: How many are left.
        """
        return self.rest + layers * (self.layer + neurons * self.neuron) + tokens * self.token

    def most_layers(self, neurons: int, tokens: int, most: int) -> int:
        """How many layers fit; 0 or less: none.

        Args:
            neurons: How many are left in each.
            tokens: How many are left.
            most: Bytes that may be taken.
        """
        return min(self.layers, (most - self.of(0, neurons, tokens)) // (self.layer + neurons * self.neuron))


def sizes_of(encoder: TextEncoder) -> Sizes:
    """What the parts of a model take.

    Args:
        encoder: The whole model, whose layers are all alike.
    """
    found = layer_list(encoder.backbone)[1]
    layer = sum(_bytes(one) for one in found) // len(found)
    try:
        neurons, maps = neuron_count(encoder)[1], feed_forwards(encoder)[0]
        width = sum(up.out_features // neurons * (up.in_features + (up.bias is not None)) for up in maps.up)
        neuron = BYTES * (width + maps.down.out_features)
    except UserError:
        neurons, neuron = 0, 0
    table = encoder.backbone.get_input_embeddings().weight
    file = tokenizer_bytes(encoder)
    whole = encoder.parameter_count * BYTES + file
    token = table.shape[1] * BYTES + file // table.shape[0]
    return Sizes(
        layers=len(found),
        rest=whole - len(found) * layer - table.shape[0] * token,
        layer=layer - neurons * neuron,
        neuron=neuron,
        neurons=neurons,
        token=token,
    )


def _bytes(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters()) * BYTES


def fitting(
    sizes: Sizes, most: int, layers: int | None, neurons: Sequence[int], tokens: Sequence[int]
) -> Iterator[tuple[int, int, int]]:
    """Numbers of layers, neurons and tokens that fit: for each choice of neurons and tokens as many layers as there is room for.

    Args:
        sizes: What each part takes.
        most: Bytes that may be taken.
        layers: How many must be left; None: any number.
        neurons: What may be left of each layer.
        tokens: What may be left of the vocabulary.
    """
    for some in tokens:
        for width in neurons:
            count = sizes.most_layers(width, some, most)
            if count >= (layers or 1):
                yield layers or count, width, some
