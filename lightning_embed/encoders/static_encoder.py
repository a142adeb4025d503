"""StaticEncoder: a table of token vectors that starts from another model's, and the mean of a text's tokens."""

from __future__ import annotations

import json
from hashlib import blake2b
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from lightning_embed.batch import Tokens
from lightning_embed.encoders.pretrained import FolderSettings, read_settings
from lightning_embed.encoders.teacher import FrozenEncoder
from lightning_embed.encoders.text_encoder import TextEncoder
from lightning_embed.encoders.token_table import TokenTable, table_of
from lightning_embed.errors import UserError
from lightning_embed.utils.activity import track
from lightning_embed.utils.atomic import whole_file
from lightning_embed.utils.folders import user_cache
from lightning_embed.utils.numbers import check_number

BATCH = 2048
"""Tokens that are run through the model at once, each a text of its own."""


class StaticEncoder(TextEncoder):
    """A static model: one vector a token, the mean of them for a text, and no layers. It embeds thousands of queries a second on one core.

        z = mean_t v_t        v_t = a / (a + p_t) · f(t)

    f(t) is what another model gives for the token t alone, between its special tokens; with `dim` its first principal components (Tulkens
    & van Dongen 2024, *Model2Vec*). p_t is the token's frequency by Zipf's law, where the vocabulary is sorted by frequency (Arora et al.
    2017, *SIF*). All v_t then train. An exported one is read by `TextEncoder`.

    Args:
        model: The model f, whose tokenizer it takes over: a folder, `pip:NAME` or a Hugging Face id.
        dim: Entries of each vector, from 1 to those of f; None: all of them, which then are in f's own space.
        sif: a > 0: the smaller, the less frequent tokens count; None: all count alike.
        prompts: Text before each text, by role; None: none.
        max_length: Tokens after which a text is cut; None: where f cuts it.
        random_init: Leaves the vectors random.
        max_tokens: Token budget of one forward; a single text may exceed it.
        checkpoint_chunks: Keeps no activations and computes each chunk again in the backward pass: the memory of one chunk for any batch.
    """

    def __init__(
        self,
        model: str,
        dim: int | None = None,
        sif: float | None = 1e-4,
        prompts: dict[str, str] | None = None,
        max_length: int | None = None,
        random_init: bool = False,
        max_tokens: int = 16_384,
        checkpoint_chunks: bool = False,
    ) -> None:
        what = f"model '{model}': "
        for name, count in (("dim", dim), ("max_length", max_length)):
            check_number(what + name, count, least=1, whole=True, optional=True)
        check_number(what + "sif", sif, above=0, optional=True)
        check_number(what + "max_tokens", max_tokens, least=1, whole=True)
        self.components, self.sif = dim, sif
        object.__setattr__(self, "start", FrozenEncoder(model))  # unregistered: its weights are not this encoder's
        super().__init__(
            model=model,
            pooling="mean",
            prompts=prompts or {},
            max_length=max_length,
            random_init=random_init,
            max_tokens=max_tokens,
            checkpoint_chunks=checkpoint_chunks,
        )
        object.__delattr__(self, "start")

    start: FrozenEncoder
    """f, while this encoder is made."""

    def folder_settings(self, folder: Path) -> FolderSettings:
        """f's length and lower case: what else its folder lays down is in its vectors.

        Args:
            folder: f's folder.
        """
        if self.start.table is not None:
            raise UserError(
                f"model '{self.start.model}': it is static already; train it as student: {{model: {self.start.model}}}"
            )
        return FolderSettings(max_length=self.start.max_length, lowercase=read_settings(folder).lowercase)

    def load_backbone(self) -> nn.Module:
        """The table, from the vectors that f gives its tokens."""
        start, dim = self.start, self.components or self.start.dim
        if dim > start.dim:
            raise UserError(
                f"model '{start.model}': dim must be from 1 to {start.dim}, the entries of its vectors, got {dim}"
            )
        if self.random_init:
            return TokenTable(start.tokenizer.vocabulary_size, dim)
        vectors = token_vectors(start)
        if self.components is not None:
            vectors = principal_components(vectors, dim)
        return table_of(vectors if self.sif is None else vectors * sif_weights(len(vectors), self.sif)[:, None])


def token_vectors(encoder: FrozenEncoder) -> Tensor:
    """(V, E) the vector that an encoder gives each token of its vocabulary alone; kept in the user's cache folder.

    Args:
        encoder: On any device; it runs on the GPU if there is one.

    Raises:
        UserError: Its tokenizer has tokens that it has no weights for.
    """
    tokens, there = encoder.tokenizer.vocabulary_size, int(encoder.config.vocab_size)
    if tokens > there:
        raise UserError(
            f"model '{encoder.model}': its tokenizer has {tokens:,} tokens and its weights are for {there:,}: they are of two models"
        )
    key = blake2b(json.dumps(encoder.identity(), sort_keys=True).encode(), digest_size=16).hexdigest()
    file = user_cache() / "token_vectors" / f"{key}.npy"
    if not file.is_file():
        encoder.to(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
        parts = [encoder(batch.to(encoder.device)).float().cpu() for batch in track(_alone(encoder), "token vectors")]
        with whole_file(file) as partial, partial.open("wb") as content:
            np.save(content, torch.cat(parts).numpy())
    return torch.from_numpy(np.load(file))


def _alone(encoder: FrozenEncoder) -> list[Tokens]:
    """Each token as a text of its own, between the special tokens of the encoder."""
    before, after = (torch.tensor(ids, dtype=torch.long) for ids in encoder.tokenizer.around())
    found = []
    for ids in torch.arange(encoder.tokenizer.vocabulary_size).split(BATCH):
        n = len(ids)
        rows = torch.cat([before.expand(n, -1), ids[:, None], after.expand(n, -1)], dim=1)
        found.append(Tokens(rows.flatten(), torch.full((n,), rows.shape[1])))
    return found


def principal_components(vectors: Tensor, dim: int) -> Tensor:
    """(V, dim) the coordinates of vectors along the directions in which they vary most, from their mean.

    Args:
        vectors: (V, E).
        dim: How many directions.
    """
    centred = vectors.double() - vectors.double().mean(0)
    _, directions = torch.linalg.eigh(centred.T @ centred)  # by ascending variance
    kept = directions.flip(1)[:, :dim]
    # a direction's sign is arbitrary: the same on each machine of a run
    signs = kept.gather(0, kept.abs().argmax(0, keepdim=True)).sign()
    return (centred @ (kept * signs)).float()


def sif_weights(tokens: int, a: float) -> Tensor:
    """(tokens,) a / (a + p) with p ∝ 1 / (rank + 1), the frequency by Zipf's law of the token of each rank.

    Args:
        tokens: V.
        a: a > 0.
    """
    inverse = 1 / torch.arange(2, tokens + 2, dtype=torch.float64)
    return (a / (a + inverse / inverse.sum())).float()
