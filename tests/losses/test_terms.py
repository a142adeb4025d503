"""Losses and their weights as they are given in Python."""

import pytest

from lightning_embed import UserError
from lightning_embed.losses import InfoNCE, LossTerm
from lightning_embed.losses.base import as_terms


def test_a_bare_loss_has_weight_1() -> None:
    loss, term = InfoNCE(), LossTerm(InfoNCE(), weight=0.5)
    terms = as_terms({"bare": loss, "term": term})
    assert terms["bare"].loss is loss and terms["bare"].weight == 1 and terms["term"] is term
    with pytest.raises(UserError, match=r"losses: odd: expected a loss, e.g. InfoNCE\(\)"):
        as_terms({"odd": 3})  # type: ignore[dict-item]
