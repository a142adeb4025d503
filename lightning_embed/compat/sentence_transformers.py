"""What sentence-transformers keeps to itself: the transformers model inside one of its models."""

from typing import Any

from torch import nn


def inner_model(model: Any) -> nn.Module:
    """The transformers model whose token vectors a sentence-transformers model pools.

    Args:
        model: A `SentenceTransformer`.
    """
    inner: nn.Module = model[0].model
    return inner


def set_inner_model(model: Any, inner: nn.Module) -> None:
    """Puts another model in its place; without it an adapter without modules.json could not be merged into its base and scored.

    Args:
        model: A `SentenceTransformer`.
        inner: A transformers model of the same kind.
    """
    model[0].model = inner
