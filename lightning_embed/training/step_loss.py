"""The one number that a step minimises, from the values of its losses."""

from collections.abc import Mapping

import torch
from torch import Tensor

from lightning_embed.batch import TokenBatch
from lightning_embed.errors import NotFinite, UserError

ROWS_NAMED = 16


def weighted_sum(values: Mapping[str, Tensor], weights: Mapping[str, float], batch: TokenBatch, step: int) -> Tensor:
    """Σ weight · value, a finite scalar.

    Args:
        values: Name -> scalar of each loss.
        weights: Name -> weight of each.
        batch: What they were computed on.
        step: Optimizer steps done.

    Raises:
        UserError: There is no value.
        NotFinite: The sum is not finite.
    """
    if not values:
        raise UserError(
            f"no loss for a batch of source '{batch.source}' has a weight other than 0 at step {step}; "
            "correct the schedule of `losses`"
        )
    total = torch.stack([weights[name] * value for name, value in values.items()]).sum()
    if not torch.isfinite(total):
        bad = [f"{name} = {value.item()}" for name, value in values.items() if not torch.isfinite(value)]
        rows = ", ".join(str(row + 1) for row in batch.rows[:ROWS_NAMED]) + (
            ", …" if len(batch.rows) > ROWS_NAMED else ""
        )
        raise NotFinite(
            f"step {step}: the loss is not finite ({'; '.join(bad) or 'their sum'}) on rows {rows} of source '{batch.source}'; lower the "
            "learning rate, clip gradients (trainer.gradient_clip_val), or look at these rows"
        )
    return total
