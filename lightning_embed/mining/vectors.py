"""Texts to vectors on disk: each text is encoded once, block by block."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from lightning_embed.encoder import TextEncoder
from lightning_embed.errors import UserError
from lightning_embed.mining.blocks import Blocks
from lightning_embed.mining.pairs import Texts

Embed = Callable[[Sequence[str], str, int | None], NDArray[np.floating]]
"""Texts, the name of their prompt and the tokens after which they are cut -> (n, D) unit vectors: an encoder, or a store of its vectors."""

CALL_TEXTS = 256
"""Texts that the model is given at a time, out of a block sorted by length."""


def embed_with(encoder: TextEncoder) -> Embed:
    """An encoder as a function of texts.

    Args:
        encoder: The model, on its device.
    """

    def embed(texts: Sequence[str], prompt: str, max_length: int | None) -> NDArray[np.floating]:
        tokens, _, _ = encoder.tokenizer(texts, prompt, max_length)
        return encoder.embed(tokens.to(encoder.device)).cpu().numpy()

    return embed


def encode_block(texts: Texts, blocks: Blocks, block: int, embed: Embed, model: str) -> None:
    """Encodes and writes a block of texts.

    Args:
        texts: All texts.
        blocks: Where their vectors go.
        block: Which block.
        embed: Gives vectors.
        model: What the user calls the model, for messages.

    Raises:
        UserError: If a vector is not finite.
    """
    rows = blocks.rows(block)
    values = texts.take(range(rows.start, rows.stop))
    vectors = np.empty((len(values), blocks.shape[1]), dtype=np.float32)
    for column, home in enumerate(texts.columns):
        mine = np.flatnonzero(texts.places[rows, 0] == column)
        mine = mine[np.argsort([-len(values[i]) for i in mine], kind="stable")]
        for start in range(0, len(mine), CALL_TEXTS):
            some = mine[start : start + CALL_TEXTS]
            vectors[some] = embed([values[i] for i in some], home.prompt, home.rows.source.max_length)
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(bad):
        raise UserError(
            f"model '{model}': its vector of the text {values[bad[0]][:60]!r} is not finite, and {len(bad) - 1:,} more of "
            f"{len(values):,} texts; look at the model, or try dtype: float32"
        )
    blocks.write(block, vectors)
