"""What every loss of the package must hold, found by listing the classes: a new loss is in it unasked."""

from functools import partial

import pytest
import torch

import lightning_embed.losses as zoo
from examples.custom_loss import UnitLength
from lightning_embed.batch import ROLES, EmbeddingBatch
from lightning_embed.heads import Projection
from lightning_embed.losses import (
    Distillation,
    EmbeddingLoss,
    InfoNCE,
    Matryoshka,
    Quantized,
    RelationalDistillation,
    ScoreDistillation,
)
from lightning_embed.testing import Factory, assert_world_size_invariant, world_size_errors
from tests.forks import start_server


@pytest.fixture(scope="module", autouse=True)
def server() -> None:
    start_server()


CLASSES = [getattr(zoo, name) for name in zoo.__all__ if isinstance(getattr(zoo, name), type)]
LOSSES = [c for c in CLASSES if issubclass(c, EmbeddingLoss) and c is not EmbeddingLoss]


def matryoshka() -> Matryoshka:
    return Matryoshka(Distillation(), dims=[4, 8])


def quantized() -> Quantized:
    return Quantized(InfoNCE(temperature=0.1))


def nested_bits() -> Matryoshka:
    return Matryoshka(Quantized(Distillation(), "binary"), dims=[4, 8])


def made() -> dict[str, Factory]:
    """Each class as it comes, and settings that take another path."""
    wrapped: dict[type, Factory] = {Matryoshka: matryoshka, Quantized: quantized}
    factories: dict[str, Factory] = {c.__name__: wrapped.get(c, c) for c in LOSSES}
    # at the default 0.02 this batch's softmaxes are saturated, and a gradient of nothing but rounding has no relative error
    factories["ScoreDistillation"] = partial(ScoreDistillation, temperature=0.2)
    factories["ScoreDistillation no diagonal"] = partial(ScoreDistillation, temperature=0.2, diagonal=False)
    factories["InfoNCE learnable"] = partial(InfoNCE, temperature=0.1, learnable_temperature=True)
    factories["InfoNCE both ways"] = partial(InfoNCE, temperature=0.1, symmetric=True)
    factories["InfoNCE guided"] = partial(InfoNCE, temperature=0.1, teacher_margin=0.05)
    factories["Distillation sum"] = partial(Distillation, reduction="sum", columns=ROLES)
    factories["Distillation targets"] = partial(Distillation, targets={"positive": "anchor"})
    factories["Quantized binary"] = partial(
        Quantized, InfoNCE(temperature=0.1), "binary", columns=["positive", "negative"], float_weight=0.5
    )
    factories["Quantized nested"] = nested_bits
    factories["RelationalDistillation teacher"] = partial(RelationalDistillation, reference="teacher")
    return factories


def test_ranks_and_chunks_change_no_loss_and_no_gradient() -> None:
    worst: dict[tuple[str, int, bool], float] = {}
    for name, case, loss, grad in world_size_errors(made()):
        key = (name, case.world, case.chunked)
        worst[key] = max(worst.get(key, 0.0), loss, grad)
    print()
    for (name, world, chunked), error in worst.items():
        print(f"{name:32}{world} ranks, {'chunked' if chunked else 'whole':8}{error:.1e}")
    assert {key: error for key, error in worst.items() if not error <= 1e-5} == {}


class LocalMean(EmbeddingLoss):
    """Wrong on purpose: averages over this rank's rows alone."""

    def forward(self, batch: EmbeddingBatch) -> torch.Tensor:
        return batch.student["anchor"].square().mean(dim=1).sum() / max(1, len(batch))


def test_the_public_helper_passes_a_right_loss_and_catches_a_wrong_one() -> None:
    assert_world_size_invariant(UnitLength)
    with pytest.raises(AssertionError, match="ranks"):
        assert_world_size_invariant(LocalMean)


def batch(student: torch.Tensor, rows: int) -> EmbeddingBatch:
    """A batch in which every column that a loss can want is there."""
    n = {"anchor": rows, "positive": rows, "negative": rows}
    vectors = {role: student[: n[role]].clone().requires_grad_() for role in ROLES}
    torch.manual_seed(5)
    return EmbeddingBatch(
        student=vectors,
        teacher={role: torch.nn.functional.normalize(torch.randn(rows, 10), dim=-1) for role in ROLES},
        reference={role: torch.randn(rows, 8) for role in ROLES},
        projection=Projection(8, 10),
        keys={role: torch.arange(rows) + 10 * i for i, role in enumerate(ROLES, start=1)},
        score={role: torch.ones(rows) for role in ("positive", "negative")},
        negative_counts=torch.ones(rows, dtype=torch.long),
    )


SHAPES = {
    "one row": (torch.randn(1, 8), 1),
    "no rows": (torch.randn(0, 8), 0),
    "norm 0": (torch.zeros(4, 8), 4),
    "norm 1e4": (torch.randn(4, 8) * 1e4, 4),
    "all equal": (torch.ones(4, 8), 4),
    "bf16": (torch.randn(4, 8).bfloat16(), 4),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", made())
def test_degenerate_batches_have_a_finite_loss_and_gradients_and_a_whole_graph(name: str, shape: str) -> None:
    vectors, rows = SHAPES[shape]
    b = batch(vectors, rows)
    loss = made()[name]()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss.check(name, b)
        value = loss(b)
    value.backward()
    assert value.dtype == torch.float32 and value.shape == () and value.isfinite()
    for role in (loss.requires | loss.uses) & set(ROLES):
        gradient = b.student[role].grad
        assert gradient is not None and gradient.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in loss.parameters() if p.requires_grad)


@pytest.mark.parametrize("name", made())
def test_a_batch_that_lacks_a_requirement_is_named(name: str) -> None:
    from lightning_embed.errors import UserError

    loss = made()[name]()
    bare = EmbeddingBatch({"anchor": torch.ones(2, 8)}, source="docs")
    if loss.requires - {"anchor"}:
        with pytest.raises(UserError, match=rf"'{name}' .*'docs'"):
            loss.check(name, bare)
