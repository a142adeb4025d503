"""The mixture: how many steps of an epoch each source gets."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from lightning_embed.errors import UserError

Mixture = Literal["size", "weight", "temperature", "round_robin"]


def turns(batches: Sequence[int], weights: Sequence[float], mixture: Mixture, temperature: float) -> tuple[int, ...]:
    """Steps of each source in an epoch.

    With b_i the batches and w_i the weight of source i, and L = Σ b_i:

        size           w_i · b_i            each row w_i times an epoch
        weight         L · w_i / Σ w        as given, whatever the sizes
        temperature    L · s_i / Σ s        with s_i = w_i · b_i^(1/T): T = 1 is by size, T → ∞ by weight
        round_robin    L / n                the same for all n sources, strictly in turn

    rounded so that every source has a step (Raffel et al. 2020, *T5*, section 3.5.2, for the temperature).

    Args:
        batches: b_i ≥ 1.
        weights: w_i > 0.
        mixture: Which rule.
        temperature: T ≥ 1.

    Raises:
        UserError: If weights are given with `round_robin`, which knows none.
    """
    b, w = np.asarray(batches, dtype=float), np.asarray(weights, dtype=float)
    if mixture == "round_robin":
        if (w != 1).any():
            raise UserError(
                "mixture: round_robin gives every source the same; drop the weights, or take mixture: weight"
            )
        return (max(1, round(b.sum() / len(b))),) * len(b)
    if mixture == "size":
        return tuple(max(1, int(n)) for n in np.round(w * b))
    share = w if mixture == "weight" else w * b ** (1 / temperature)
    wanted = b.sum() * share / share.sum()
    whole = np.maximum(1, np.floor(wanted)).astype(int)
    short = max(0, int(b.sum()) - int(whole.sum()))
    whole[np.argsort(whole - wanted, kind="stable")[:short]] += 1  # the largest remainders are rounded up
    return tuple(int(n) for n in whole)
