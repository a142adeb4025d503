from pathlib import Path

import pytest
import torch

from lightning_embed import EmbeddingModule, LossTerm, TextEncoder, UserError
from lightning_embed.batch import TokenBatch, Tokens
from lightning_embed.callbacks.loss_schedule import LossSchedule
from lightning_embed.losses import GOR, InfoNCE


def module(student: Path) -> EmbeddingModule:
    losses = {"nce": LossTerm(InfoNCE(), 1.0), "gor": LossTerm(GOR(), {0: 0.5, 30: 0.1})}
    return EmbeddingModule(TextEncoder(str(student)), losses)


def test_stages_set_the_weights_from_their_step_on_and_leave_the_others(student: Path) -> None:
    m = module(student)
    LossSchedule({10: {"nce": 0, "gor": 2}, 20: {"nce": 3}}).setup(None, m, "fit")  # type: ignore[arg-type]
    weights = [(m.terms["nce"].weight_at(step), m.terms["gor"].weight_at(step)) for step in (0, 9, 10, 19, 20, 99)]
    assert weights == [(1, 0.5), (1, 0.5), (0, 2), (0, 2), (3, 2), (3, 2)]


def test_a_loss_of_weight_0_is_not_run(student: Path) -> None:
    m = module(student)
    LossSchedule({0: {"nce": 0}}).setup(None, m, "fit")  # type: ignore[arg-type]
    one = Tokens(torch.tensor([4]), torch.tensor([1]))
    assert list(m.active(TokenBatch({"anchor": one, "positive": one}))) == ["gor"]


def test_an_unknown_loss_is_named(student: Path) -> None:
    with pytest.raises(UserError, match=r"step 5: no loss 'gorr'; known are nce, gor"):
        LossSchedule({5: {"gorr": 1}}).setup(None, module(student), "fit")  # type: ignore[arg-type]
