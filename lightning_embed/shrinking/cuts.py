"""Cuts of one model, each measured beside the whole of it."""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import Tensor

from lightning_embed.encoders.backbone import layer_list
from lightning_embed.encoders.text_encoder import TextEncoder
from lightning_embed.errors import UserError
from lightning_embed.shrinking.closeness import Closeness, closeness, mean_cosine
from lightning_embed.shrinking.layers import with_layers
from lightning_embed.shrinking.neurons import contributions, keep_neurons, neuron_count, strongest
from lightning_embed.shrinking.tokens import keep_tokens

BYTES = 4
"""Of a weight, as it is saved."""
TIMED, ROUNDS = 64, 7
"""Texts by which speed is measured, and how often."""


@dataclass(frozen=True)
class Cut:
    """What is left of a model."""

    layers: tuple[int, ...]
    """Indices of its layers."""
    neurons: int
    """Of each feed-forward layer; 0: all."""
    vocabulary: tuple[int, ...] | None = field(default=None, repr=False)
    """Ids of its tokens; None: all."""


@dataclass(frozen=True)
class Measured:
    """A cut and what it costs and saves."""

    cut: Cut
    closeness: Closeness
    neurons: int
    """Of each feed-forward layer; 0: not known."""
    tokens: int
    """Of its vocabulary."""
    bytes: int
    """Its weights and its tokenizer on disk."""
    seconds: float
    """To embed `TIMED` texts of the sample."""


def tokenizer_bytes(encoder: TextEncoder) -> int:
    """What an encoder's tokenizer takes on disk.

    Args:
        encoder: Any.
    """
    return len(encoder.tokenizer.hf.backend_tokenizer.to_str().encode())


class Cuts:
    """Builds and measures cuts of one model on one sample of texts.

    Args:
        encoder: The whole model, in evaluation mode; it stays as it is.
        sample: n texts.
        max_length: Tokens after which these are cut; None: the model's own.
    """

    def __init__(self, encoder: TextEncoder, sample: Sequence[str], max_length: int | None = None) -> None:
        self.encoder, self.sample, self.max_length = encoder, sample, max_length
        self.count = len(layer_list(encoder.backbone)[1])
        self._scratch = ExitStack()

    def close(self) -> None:
        """Removes what was written on the way."""
        self._scratch.close()

    @property
    def whole(self) -> Cut:
        """Nothing is cut."""
        return Cut(tuple(range(self.count)), 0)

    @cached_property
    def whole_vectors(self) -> Tensor:
        """(n, D) unit vectors of the whole model."""
        return self.embed(self.encoder)

    @property
    def neurons(self) -> int:
        """Of each feed-forward layer of the whole model; 0: its config does not say."""
        try:
            return neuron_count(self.encoder)[1]
        except UserError:
            return 0

    def embed(self, encoder: TextEncoder, most: int | None = None) -> Tensor:
        """(n, D) unit vectors of the sample, on the CPU.

        Args:
            encoder: On any device.
            most: Texts of the sample that are taken; None: all.
        """
        tokens, _, _ = encoder.tokenizer(self.sample[:most], max_length=self.max_length)
        return encoder.embed(tokens.to(encoder.device)).cpu()

    def _seconds(self, encoder: TextEncoder) -> float:
        """What some texts take; the best of several rounds, for other processes can only slow one down."""
        took = []
        for _ in range(ROUNDS):
            start = time.perf_counter()
            self.embed(encoder, TIMED)
            took.append(time.perf_counter() - start)
        return min(took)

    def score(self, layers: Sequence[int]) -> float:
        """The mean cosine of the vectors that some layers give with those of the whole model.

        Args:
            layers: Indices of layers.
        """
        return mean_cosine(self.embed(with_layers(self.encoder, layers)), self.whole_vectors)

    def build(self, cut: Cut, start: TextEncoder | None = None) -> TextEncoder:
        """The encoder that is left.

        Args:
            cut: What is left.
            start: An encoder of the same layers, with all neurons and tokens, to be changed in place; None: a copy that shares weights.
        """
        made = start or with_layers(self.encoder, cut.layers)
        if cut.neurons and cut.neurons != self.neurons:
            contributed = contributions(made, lambda: self.embed(made))
            keep_neurons(made, strongest(contributed, cut.neurons))
        if cut.vocabulary is not None:
            folder = Path(self._scratch.enter_context(TemporaryDirectory(prefix="lightning-embed-")))
            keep_tokens(made, list(cut.vocabulary), folder)
        return made

    def measure(self, cut: Cut) -> Measured:
        """What a cut costs and saves.

        Args:
            cut: What is left.
        """
        made = self.build(cut)
        vectors = self.embed(made)
        return Measured(
            cut,
            closeness(vectors, self.whole_vectors),
            cut.neurons or self.neurons,
            made.config.vocab_size,
            made.parameter_count * BYTES + tokenizer_bytes(made),
            self._seconds(made),
        )
