"""How wide a backbone is and how long its texts may be, against what a user asks for."""

from torch import nn

from lightning_embed.encoders.positions import default_length, position_limit
from lightning_embed.errors import UserError


def width_of(backbone: nn.Module) -> int:
    """Entries of a backbone's hidden states.

    Args:
        backbone: A transformers model.
    """
    return int(backbone.config.hidden_size)  # type: ignore[union-attr, arg-type]


def checked_dim(width: int, dim: int | None, model: str) -> int | None:
    """The entries to keep of each vector, as asked for.

    Args:
        width: Those that there are.
        dim: Those to keep; None: not asked for.
        model: What the user wrote, for messages.

    Raises:
        UserError: There are not that many.
    """
    if dim is not None and not 0 < dim <= width:
        raise UserError(f"model '{model}': dim must be from 1 to {width}, got {dim}")
    return dim


def checked_length(backbone: nn.Module, wanted: int | None, model: str) -> int | None:
    """Tokens after which a text is cut: those wanted, else the most that the backbone has positions for, if it says so.

    Args:
        backbone: A transformers model.
        wanted: What the user or the folder asks for; None: nothing.
        model: What the user wrote, for messages.

    Raises:
        UserError: More than it has positions for.
    """
    limit = position_limit(backbone)
    if wanted and limit is not None and wanted > limit:
        raise UserError(f"model '{model}': max_length {wanted} is more than the {limit} positions that it has")
    return wanted or default_length(backbone)
