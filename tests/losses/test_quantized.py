"""`Quantized`: against a reference by hand, alone, under `Matryoshka`, with the columns that it leaves as they are."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, log_softmax

from lightning_embed.batch import ROLES, EmbeddingBatch
from lightning_embed.errors import UserError
from lightning_embed.heads import Projection
from lightning_embed.heads.quantize import signs
from lightning_embed.losses import GOR, Distillation, InfoNCE, Matryoshka, Quantized
from lightning_embed.losses.quantized import EDGE, straight_through

B, D = 6, 8


def columns(dim: int = D, rows: int = B) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(3)
    return {role: torch.randn(rows, dim, generator=draw) * (1 + i) for i, role in enumerate(("anchor", "positive"))}


def batch(vectors: dict[str, Tensor]) -> EmbeddingBatch:
    return EmbeddingBatch({role: one.clone().requires_grad_() for role, one in vectors.items()}, source="toy")


def loop_nce(anchors: Tensor, positives: Tensor) -> Tensor:
    """InfoNCE at τ = 0.1."""
    scores = torch.stack([torch.stack([cosine_similarity(a, p, dim=0) for p in positives]) for a in anchors]) / 0.1
    return -log_softmax(scores, dim=1).diagonal().mean()


def bits(z: Tensor) -> Tensor:
    return torch.tensor([[(1.0 if x > 0 else -1.0) / math.sqrt(z.shape[1]) for x in row] for row in z.tolist()])


def codes(z: Tensor, everything: Tensor) -> Tensor:
    """Each entry at the lower end of its code, with the ranges of everything's columns."""
    low, high = everything.min(dim=0).values.tolist(), everything.max(dim=0).values.tolist()
    steps = [(h + EDGE * (h - lo) - lo) / 255 for lo, h in zip(low, high, strict=True)]
    return torch.tensor(
        [[lo + s * math.floor((x - lo) / s) for x, lo, s in zip(row, low, steps, strict=True)] for row in z.tolist()]
    )


def expected(vectors: dict[str, Tensor], precision: str, roles: tuple[str, ...]) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss, and its gradient by each vector x: that by q(z), as it is, through z = x/‖x‖: (I − z zᵀ)/‖x‖."""
    z = {role: one / one.norm(dim=1, keepdim=True) for role, one in vectors.items()}
    everything = torch.cat([z[role] for role in roles])
    q = {
        role: bits(one) if precision == "binary" else codes(one, everything) for role, one in z.items() if role in roles
    }
    leaves = {role: (q[role] if role in roles else vectors[role]).clone().requires_grad_() for role in vectors}
    value = loop_nce(leaves["anchor"], leaves["positive"])
    slopes = dict(zip(leaves, torch.autograd.grad(value, list(leaves.values())), strict=True))
    for role in roles:
        through = [
            (slope - one * (slope @ one)) / x.norm()
            for slope, one, x in zip(slopes[role], z[role], vectors[role], strict=True)
        ]
        slopes[role] = torch.stack(through)
    return value.detach(), slopes


@pytest.mark.parametrize("roles", [("anchor", "positive"), ("positive",)])
@pytest.mark.parametrize("precision", ["int8", "binary"])
def test_value_and_gradient_equal_the_loop(precision: str, roles: tuple[str, ...]) -> None:
    vectors = columns()
    b = batch(vectors)
    loss = Quantized(InfoNCE(temperature=0.1), precision, columns=roles)(b)  # type: ignore[arg-type]
    loss.backward()
    value, slopes = expected(vectors, precision, roles)
    torch.testing.assert_close(loss, value.detach(), rtol=1e-5, atol=1e-6)
    for role, slope in slopes.items():
        torch.testing.assert_close(b.student[role].grad, slope, rtol=1e-4, atol=1e-6)
    plain = InfoNCE(temperature=0.1)(batch(vectors)).detach()
    assert abs(float(loss.detach() - plain)) > (1e-2 if precision == "binary" else 1e-5)


def test_by_hand() -> None:
    """(3, 4) has the bits (1, 1)/√2, 45 degrees from (1, 0): 1 − 1/√2; a share of a half of 1 − 0.6 as it is."""
    b = EmbeddingBatch({"anchor": torch.tensor([[3.0, 4.0]])}, {"anchor": torch.tensor([[1.0, 0.0]])})
    distill = Distillation(columns=["anchor"])
    assert Quantized(distill, "binary")(b).item() == pytest.approx(1 - 1 / math.sqrt(2))
    half = Quantized(distill, "binary", float_weight=0.5)(b).item()
    assert half == pytest.approx(0.5 * (1 - 1 / math.sqrt(2)) + 0.5 * 0.4)


def test_int8_by_hand() -> None:
    """Of (1, 0), (0, 1) and (0.6, 0.8) each dim has the range 0 to 1: 255 · 0.6 = 153 - ε has code 152, 255 · 0.8 = 204 - ε code 203."""
    vectors = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    b = EmbeddingBatch({"anchor": vectors}, {"anchor": torch.tensor([[0.0, 1.0]] * 3)})
    x, y = 152 / 255, 203 / 255
    found = Quantized(Distillation(columns=["anchor"]))(b).item()
    assert found == pytest.approx((1 + 0 + 1 - y / math.hypot(x, y)) / 3, abs=1e-5)


@pytest.mark.parametrize("precision", ["int8", "binary"])
def test_matryoshka_around_it_cuts_normalises_and_then_quantises(precision: str) -> None:
    vectors = columns()
    inner = Quantized(InfoNCE(temperature=0.1), precision)  # type: ignore[arg-type]
    both = Matryoshka(inner, dims=[3, D])(batch(vectors))
    parts = [
        expected({role: one[:, :k] for role, one in vectors.items()}, precision, ("anchor", "positive"))[0]
        for k in (3, D)
    ]
    assert both.item() == pytest.approx(sum(map(float, parts)) / 2, rel=1e-5)


def test_matryoshka_or_a_second_one_within_it_is_refused() -> None:
    with pytest.raises(UserError, match=r"put Matryoshka around it, .* truncated, then normalised, then quantised"):
        Quantized(Matryoshka(InfoNCE(), dims=[4]))
    with pytest.raises(UserError, match="quantised already"):
        Quantized(Quantized(InfoNCE()), "binary")
    with pytest.raises(UserError, match="int8 or binary, got 'uint8'"):
        Quantized(InfoNCE(), "uint8")  # type: ignore[arg-type]


def test_only_columns_that_the_loss_takes_have_a_say_in_the_ranges() -> None:
    vectors = columns()
    far = vectors | {"negative": 100 * torch.eye(D)}
    for loss in (GOR(columns=["anchor"]), GOR()):
        assert Quantized(loss)(batch(far)).item() == pytest.approx(Quantized(loss)(batch(vectors)).item(), abs=1e-9)


def test_it_needs_what_the_wrapped_loss_needs_and_passes_its_callbacks_on() -> None:
    loss = Quantized(Distillation(targets={"positive": "anchor"}))
    inner = loss.loss
    assert (loss.requires, loss.uses, loss.taught_by) == (inner.requires, inner.uses, inner.taught_by)
    nce = Quantized(InfoNCE(temperature=0.02, learnable_temperature=True, min_temperature=0.01))
    with torch.no_grad():
        nce.loss.log_temperature.fill_(math.log(1e-4))  # type: ignore[operator, union-attr]
    nce.on_step_end(None, 1)
    assert float(nce.loss.temperature) == pytest.approx(0.01)  # type: ignore[arg-type]


def test_ψ_maps_the_quantised_vectors() -> None:
    vectors, projection = columns(), Projection(D, 10)
    teacher = {role: torch.randn(B, 10) for role in vectors}
    b = EmbeddingBatch(vectors, teacher, projection=projection)
    stored = EmbeddingBatch({role: signs(one) for role, one in vectors.items()}, teacher, projection=projection)
    assert Quantized(Distillation(), "binary")(b).item() == pytest.approx(Distillation()(stored).item(), rel=1e-6)


def test_straight_through_gives_the_values_exactly_and_the_vectors_their_gradient() -> None:
    vectors = torch.randn(4, 5, requires_grad=True)
    found = straight_through(vectors, signs(vectors))
    found.mul(torch.arange(5.0)).sum().backward()
    assert torch.equal(found, signs(vectors)) and torch.equal(vectors.grad, torch.arange(5.0).expand(4, 5))


def test_training_on_bits_makes_bits_good() -> None:
    """After as many steps as with the float loss alone, bits tell pairs from others better."""
    torch.manual_seed(0)
    texts, noise = torch.randn(64, 16), 0.5 * torch.randn(64, 16)

    def bits_loss(loss: torch.nn.Module) -> float:
        torch.manual_seed(1)
        student = torch.nn.Linear(16, 12)
        optimizer = torch.optim.Adam(student.parameters(), lr=0.01)
        for _ in range(40):
            optimizer.zero_grad()
            loss(EmbeddingBatch({"anchor": student(texts), "positive": student(texts + noise)})).backward()
            optimizer.step()
        with torch.no_grad():
            stored = {"anchor": signs(student(texts)), "positive": signs(student(texts + noise))}
        return InfoNCE(temperature=0.1)(EmbeddingBatch(stored)).item()

    plain, trained = (
        bits_loss(one) for one in (InfoNCE(temperature=0.1), Quantized(InfoNCE(temperature=0.1), "binary"))
    )
    assert trained < 0.9 * plain


def test_every_role_is_quantised_by_default() -> None:
    assert Quantized(InfoNCE()).columns == ROLES
