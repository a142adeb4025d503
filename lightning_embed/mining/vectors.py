"""Texts to vectors on disk: each text is encoded once, block by block."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lightning_embed.datamodules.sources.files import fingerprint
from lightning_embed.datamodules.teacher_store.lookup import TeacherLookup
from lightning_embed.encoders.teacher import FrozenEncoder, StoredTeacher
from lightning_embed.errors import UserError
from lightning_embed.mining.blocks import Blocks
from lightning_embed.mining.pairs import Texts

Embed = Callable[[Sequence[str], str, int | None], NDArray[np.floating]]
"""Texts, the name of their prompt and the tokens after which they are cut -> (n, D) unit vectors: an encoder, or a store of its vectors."""


@dataclass(frozen=True)
class Encoder:
    """A teacher as a function of texts, and what is known of it."""

    embed: Embed
    title: str
    """What the user calls it."""
    dim: int
    """D."""
    fingerprint: str
    """A hash of what its vectors depend on, but for the texts."""


CALL_TEXTS = 256
"""Texts that the model is given at a time, out of a block sorted by length."""


def embed_with(teacher: FrozenEncoder | StoredTeacher, lookup: TeacherLookup | None) -> Embed:
    """A teacher as a function of texts: stored vectors where there are some, else its own.

    Args:
        teacher: The model, on its device; its weights are loaded at the first text that is not stored.
        lookup: Its stored vectors.
    """

    def encode(texts: Sequence[str], prompt: str, max_length: int | None) -> NDArray[np.floating]:
        assert isinstance(teacher, FrozenEncoder)
        tokens, _, _ = teacher.tokenizer(texts, prompt, max_length)
        return teacher.embed(tokens.to(teacher.device)).cpu().numpy()

    def embed(texts: Sequence[str], prompt: str, max_length: int | None) -> NDArray[np.floating]:
        if lookup is None:
            return encode(texts, prompt, max_length)
        stored, there = lookup.store.find(lookup.keys(texts, prompt, max_length))
        vectors, missing = stored.astype(np.float32), np.flatnonzero(~there)
        if len(missing) and lookup.required:
            text, name = texts[int(missing[0])], title(teacher)
            raise UserError(
                f"the text {text[:60]!r} has no vector among those given as '{name}' in {lookup.store.path}; import it (python -m "
                f"lightning_embed cache --import FILE --import_name {name})"
            )
        if len(missing):
            vectors[missing] = encode([texts[i] for i in missing.tolist()], prompt, max_length)
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)

    return embed


def title(teacher: FrozenEncoder | StoredTeacher) -> str:
    """What the user calls a teacher.

    Args:
        teacher: The teacher.
    """
    return teacher.name if isinstance(teacher, StoredTeacher) else teacher.model


def identity(teacher: FrozenEncoder | StoredTeacher) -> str:
    """A hash of everything a teacher's vectors depend on besides the texts.

    Args:
        teacher: The teacher.

    Raises:
        UserError: If its weights are random.
    """
    known = teacher.identity()
    if known is None:
        raise UserError(f"model '{title(teacher)}' has random weights (random_init): what it finds near means nothing")
    return fingerprint(sorted(known.items(), key=str), sorted(teacher.prompts.items()), teacher.max_length)


def encode_block(texts: Texts, blocks: Blocks, block: int, embed: Embed, model: str) -> None:
    """Encodes and writes a block of texts.

    Args:
        texts: All texts.
        blocks: Where their vectors go.
        block: Its number, from 0.
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
