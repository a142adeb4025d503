"""The backbone of a static model: a table with one vector a token, in place of a transformer's layers.

It is called as a transformers model is, and its hidden states are the rows of the table, so that pooling, heads, losses, checkpoints and
sharding need no other code. The file is that of sentence-transformers' `StaticEmbedding`, or of model2vec.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from lightning_embed.errors import UserError, first_line

if TYPE_CHECKING:
    from lightning_embed.tokenizer import TextTokenizer

UNLIMITED = 1_000_000
"""The tokens of a text that a table takes: it has no positions."""
FILE = "model.safetensors"
WEIGHT = "embedding.weight"
"""What sentence-transformers calls the table."""
MODEL2VEC = "embeddings"
"""What model2vec calls it; `mapping` (token -> row) and `weights` (a factor for each token) may stand beside it."""


class Hidden(NamedTuple):
    """What a backbone gives."""

    last_hidden_state: Tensor
    """(n, T, D)."""


class TokenTable(nn.Module):
    """Gives each token its vector in a table, whatever the tokens around it.

    Args:
        tokens: Rows of the table, one for each token of the tokenizer.
        dim: D, entries of each row.
    """

    def __init__(self, tokens: int, dim: int) -> None:
        from transformers import PretrainedConfig

        super().__init__()
        self.embedding = nn.Embedding(tokens, dim)
        self.layers = nn.ModuleList()  # none, where other backbones have theirs
        sizes = {"hidden_size": dim, "intermediate_size": dim, "num_hidden_layers": 0, "num_attention_heads": 0}
        limits = {"vocab_size": tokens, "max_position_embeddings": UNLIMITED}
        self.config: Any = PretrainedConfig.from_dict(sizes | limits)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Hidden:
        """Looks tokens up.

        Args:
            input_ids: (n, T).
            attention_mask: Not needed: the pooling leaves the padding out.
        """
        return Hidden(self.embedding(input_ids))


def table_of(vectors: Tensor) -> TokenTable:
    """A table with these rows.

    Args:
        vectors: (tokens, D).
    """
    with torch.device("meta"):
        made = TokenTable(*vectors.shape)
    made.embedding.weight = nn.Parameter(vectors.contiguous())
    return made.train()


def load_table(model: str, folder: Path, dtype: torch.dtype, random_init: bool = False) -> TokenTable:
    """The table of a `StaticEmbedding` folder; model2vec's mapping and weights become part of its rows.

    Args:
        model: What the user wrote, for messages.
        folder: The folder of the module, which holds model.safetensors.
        dtype: Type of the rows.
        random_init: Whether to leave them random.

    Raises:
        UserError: The file is missing, cannot be read or holds no table.
    """
    from safetensors.torch import load_file

    shape = outline_table(model, folder)
    if random_init:
        return TokenTable(*shape).to(dtype).train()
    state = load_file(folder / FILE)
    if WEIGHT in state:
        return table_of(state[WEIGHT].to(dtype))
    rows = state[MODEL2VEC].float()
    if "mapping" in state:
        rows = rows[state["mapping"].long()]
    if "weights" in state:
        rows = rows * state["weights"].float()[:, None]
    return table_of(rows.to(dtype))


def outline_table(model: str, folder: Path) -> tuple[int, int]:
    """Rows and entries of a `StaticEmbedding` folder's table, without reading it.

    Args:
        model: What the user wrote, for messages.
        folder: The folder of the module.

    Raises:
        UserError: The file is missing, cannot be read or holds no table.
    """
    from safetensors import SafetensorError, safe_open

    file = folder / FILE
    if not file.is_file():
        raise UserError(
            f"model '{model}': the table of a static model was expected in {file}; pickled ones are not read"
        )
    try:
        with safe_open(file, framework="pt") as content:
            shapes = {name: tuple(content.get_slice(name).get_shape()) for name in content.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise UserError(f"model '{model}': {file} could not be read ({first_line(error)})") from None
    shape = shapes.get(WEIGHT, shapes.get(MODEL2VEC, ()))
    if len(shape) != 2:
        found = ", ".join(f"{name} {list(size)}" for name, size in shapes.items())
        raise UserError(
            f"model '{model}': {file} must hold a matrix {WEIGHT} or {MODEL2VEC}, found {found or 'nothing'}"
        )
    return shapes.get("mapping", shape)[0], shape[1]


def refuse_settings(model: str, settings: Mapping[str, object]) -> None:
    """Raises `UserError` at the first setting that is given and that a static model has no use for.

    Args:
        model: What the user wrote.
        settings: Name -> value; None, False, 0 or empty: not given.
    """
    for name, value in settings.items():
        if value:
            raise UserError(
                f"model '{model}': {name} was given, and a static model, a table of tokens, has none; leave it out"
            )


def check_tokens(model: str, table: nn.Module, tokenizer: TextTokenizer) -> None:
    """Raises `UserError` unless a table has a row for each token of a tokenizer.

    Args:
        model: What the user wrote.
        table: The table.
        tokenizer: The tokenizer.
    """
    rows, tokens = int(table.config.vocab_size), tokenizer.vocabulary_size  # type: ignore[union-attr, arg-type]
    if rows < tokens:
        raise UserError(
            f"model '{model}': its table has {rows:,} rows and its tokenizer {tokens:,} tokens: they are of two models"
        )
