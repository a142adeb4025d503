"""What the models of a first job are like: their layers and sizes are read, their weights are not loaded."""

from dataclasses import dataclass

from lightning_embed.encoders import FrozenEncoder
from lightning_embed.encoders.backbone import layer_list
from lightning_embed.errors import UserError
from lightning_embed.shrinking.layers import evenly_spaced
from lightning_embed.tokenizer import TextTokenizer

MEASURED = {"all-minilm-l6-v2": [0, 4, 5]}
"""End of a model's name, in small letters -> the half of its layers that `shrink` chose."""


@dataclass(frozen=True)
class Model:
    """A teacher or student."""

    name: str
    """As the user wrote it."""
    dim: int
    tokenizer: TextTokenizer
    count: int
    """Its layers; 0 where it has none that could be left out."""

    @property
    def most(self) -> int:
        """Tokens of its longest texts."""
        return self.tokenizer.max_length


def read_model(name: str) -> Model:
    """A model's sizes and tokenizer.

    Args:
        name: A folder, `pip:NAME` or a Hugging Face id.

    Raises:
        UserError: There is no such model, or its files cannot be read.
    """
    encoder = FrozenEncoder(name)
    return Model(name, encoder.dim, encoder.tokenizer, _layers(encoder))


def _layers(encoder: FrozenEncoder) -> int:
    if encoder.table is not None:
        return 0
    try:
        return len(layer_list(encoder.outline)[1])
    except UserError:  # ALBERT's layers share their weights
        return 0


def half_the_layers(model: Model) -> tuple[list[int] | None, bool]:
    """Half of a model's layers to start a student from, None where it has too few, and whether `shrink` chose them.

    Args:
        model: The model.
    """
    for end, layers in MEASURED.items():
        if model.name.lower().rstrip("/").endswith(end) and model.count == 2 * len(layers):
            return layers, True
    return (evenly_spaced(model.count, model.count // 2) if model.count > 1 else None), False
