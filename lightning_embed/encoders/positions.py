"""The positions that a backbone has: which number the first has, and how many there are."""

from torch import nn

TABLES = ("position_embeddings", "embed_positions", "positions_embed", "wpe")
"""What families call the table that holds a vector, or an angle's sine and cosine, of each position."""


def learned_positions(backbone: nn.Module) -> nn.Embedding | None:
    """The table of learned position embeddings; None for rotary positions.

    Args:
        backbone: A transformers model.
    """
    for name, module in backbone.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            return module
    return None


def first_position(backbone: nn.Module) -> int:
    """The number of a text's first position: 0, or one past the padding's where positions are learned (RoBERTa).

    Args:
        backbone: A transformers model.
    """
    table = learned_positions(backbone)
    return 0 if table is None or table.padding_idx is None else table.padding_idx + 1


def position_limit(backbone: nn.Module) -> int | None:
    """The most tokens that a backbone's tables of positions can number; None where it computes positions as it needs them.

    Args:
        backbone: A transformers model.
    """
    tables = [
        module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1)
        for name, module in backbone.named_modules()
        if name.rpartition(".")[2] in TABLES and isinstance(module, nn.Embedding)
    ]
    tables += [len(buffer) for name, buffer in backbone.named_buffers() if name.rpartition(".")[2] in TABLES]
    return min([*tables, *_named_limit(backbone)]) if tables else None


def default_length(backbone: nn.Module) -> int | None:
    """Tokens after which a text is cut where nobody says so; None where only the tokenizer can tell.

    Args:
        backbone: A transformers model.
    """
    return position_limit(backbone) or next(iter(_named_limit(backbone)), None)


def _named_limit(backbone: nn.Module) -> list[int]:
    """The config's `max_position_embeddings`; OPT's table has two more than it uses, and XLNet and Bloom name none."""
    named = getattr(backbone.config, "max_position_embeddings", None)
    return [named] if isinstance(named, int) and named > 0 else []
