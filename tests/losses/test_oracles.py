"""The zoo against sentence-transformers' own losses where it has them, and against loops where it does not."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_embed.batch import EmbeddingBatch
from lightning_embed.losses import (
    GOR,
    AnglE,
    BinaryRobust,
    CoSENT,
    Distillation,
    EmbeddingLoss,
    InfoNCE,
    KLDistillation,
    MarginMSE,
    RelationalDistillation,
    ScoreDistillation,
    Uniformity,
    cosent,
)

B, D, E = 6, 8, 10


class Given(nn.Module):
    """Stands in for a SentenceTransformer: a column's features are its vectors."""

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"sentence_embedding": features["vectors"]}


def columns(negatives: int = 1) -> list[Tensor]:
    torch.manual_seed(0)
    return [torch.randn(B, D, requires_grad=True) for _ in range(2 + negatives)]


def theirs(name: str, vectors: list[Tensor], labels: Tensor, **options: Any) -> Any:
    from sentence_transformers.sentence_transformer import losses

    loss = getattr(losses, name)(Given(), **options)
    return loss([{"vectors": v} for v in vectors], labels)


def agree(ours: Tensor, other: Tensor, vectors: list[Tensor]) -> None:
    torch.testing.assert_close(ours, other, rtol=1e-5, atol=1e-6)
    mine, expected = (torch.autograd.grad(v, vectors, retain_graph=True) for v in (ours, other))
    torch.testing.assert_close(mine, expected, rtol=1e-4, atol=1e-6)


def batch(vectors: list[Tensor], **more: Any) -> EmbeddingBatch:
    named = dict(zip(("anchor", "positive", "negative"), vectors, strict=False))
    return EmbeddingBatch(named, negative_counts=torch.ones(B, dtype=torch.long), source="toy", **more)


@pytest.mark.parametrize(("loss", "name"), [(CoSENT, "CoSENTLoss"), (AnglE, "AnglELoss")])
def test_ranking_losses_equal_sentence_transformers(loss: Callable[[], EmbeddingLoss], name: str) -> None:
    vectors = columns(0)
    scores = torch.tensor([0.1, 0.9, 0.5, 0.5, 0.3, 0.9])
    agree(loss()(batch(vectors, score={"positive": scores})), theirs(name, vectors, scores), vectors)


def test_info_nce_equals_multiple_negatives_ranking() -> None:
    vectors = columns()
    agree(
        InfoNCE(temperature=0.05)(batch(vectors)),
        theirs("MultipleNegativesRankingLoss", vectors, torch.zeros(B), scale=20.0),
        vectors,
    )


def test_margin_mse_equals_sentence_transformers_on_given_scores() -> None:
    vectors = columns()
    gold = {"positive": torch.rand(B), "negative": torch.rand(B)}
    ours = MarginMSE(targets="score", similarity="dot")(batch(vectors, score=gold))
    agree(ours, theirs("MarginMSELoss", vectors, gold["positive"] - gold["negative"]), vectors)


def test_kl_equals_sentence_transformers_on_given_scores() -> None:
    vectors = columns()
    gold = {"positive": torch.rand(B), "negative": torch.rand(B)}
    ours = KLDistillation(temperature=2.0, targets="score", similarity="dot")(batch(vectors, score=gold))
    labels = torch.stack([gold["positive"], gold["negative"]], dim=1)
    agree(ours, theirs("DistillKLDivLoss", vectors, labels, temperature=2.0), vectors)


def test_gor_of_zhang_et_al_equals_sentence_transformers() -> None:
    vectors = columns(0)
    other = theirs("GlobalOrthogonalRegularizationLoss", vectors, torch.zeros(B), aggregation="sum")
    agree(GOR(variant="original")(batch(vectors)), torch.stack(list(other.values())).sum(), vectors)


@pytest.mark.parametrize("metric", ["cosine", "mse"])
def test_distillation_equals_sentence_transformers_on_unit_vectors(metric: Any) -> None:
    vectors = [F.normalize(v.detach(), dim=-1).requires_grad_() for v in columns(0)]
    teacher = {role: F.normalize(torch.randn(B, D), dim=-1) for role in ("anchor", "positive")}
    other = theirs("EmbedDistillLoss", vectors, torch.stack(list(teacher.values()), dim=1), distance_metric=metric)
    ours = Distillation(metric=metric)(batch(vectors, teacher=teacher))
    torch.testing.assert_close(ours, other, rtol=1e-5, atol=1e-6)


def cos(a: Tensor, b: Tensor) -> Tensor:
    return F.cosine_similarity(a, b, dim=0)


def test_cosent_equals_the_loop_with_ties_and_is_zero_without_an_order() -> None:
    phi = torch.tensor([0.3, -0.2, 0.8, 0.1], dtype=torch.float64, requires_grad=True)
    gold = [2.0, 1.0, 1.0, 0.0]
    terms = [torch.exp((phi[j] - phi[i]) / 0.05) for i in range(4) for j in range(4) if gold[i] > gold[j]]
    expected = torch.log(1 + torch.stack(terms).sum())
    got = cosent(phi, torch.tensor(gold))
    torch.testing.assert_close(got, expected)
    torch.testing.assert_close(torch.autograd.grad(got, phi), torch.autograd.grad(expected, phi))
    assert cosent(torch.randn(5), torch.ones(5)).item() == 0


def test_relational_equals_the_loop_and_is_zero_for_a_rotated_scaled_space() -> None:
    torch.manual_seed(1)
    s, t = torch.randn(5, D, requires_grad=True), torch.randn(5, E)
    ds = torch.stack([torch.stack([1 - cos(a, b) for b in s]) for a in s])
    dt = torch.stack([torch.stack([1 - cos(a, b) for b in t]) for a in t])
    expected = (ds / ds.mean() - dt / dt.mean()).square().mean()
    loss = RelationalDistillation(columns=["anchor"])
    agree(loss(EmbeddingBatch({"anchor": s}, reference={"anchor": t})), expected, [s])
    rotation = torch.linalg.qr(torch.randn(D, D)).Q
    same = EmbeddingBatch({"anchor": s}, reference={"anchor": 3 * s.detach() @ rotation})
    assert loss(same).item() == pytest.approx(0, abs=1e-8)


def test_scores_equal_the_loop() -> None:
    vectors = columns(0)
    teacher = {role: F.normalize(torch.randn(B, E), dim=-1) for role in ("anchor", "positive")}
    total = torch.zeros(())
    for s, t in zip(vectors, teacher.values(), strict=True):
        for i in range(B):
            ps = torch.stack([cos(s[i], z) for z in s]).div(0.1).softmax(0)
            pt = torch.stack([cos(t[i], z) for z in t]).div(0.1).softmax(0)
            total = total + (ps - pt).square().sum() / B
    agree(ScoreDistillation(temperature=0.1)(batch(vectors, teacher=teacher)), total, vectors)


def test_uniformity_equals_the_loop() -> None:
    v = columns(0)[0]
    n = F.normalize(v, dim=-1)
    pairs = [torch.exp(-2 * (n[i] - n[j]).square().sum()) for i in range(B) for j in range(B) if i != j]
    agree(Uniformity(columns=["anchor"])(EmbeddingBatch({"anchor": v})), torch.stack(pairs).mean().log(), [v])


def test_signs_that_carry_the_angle_cost_nothing() -> None:
    corners = torch.tensor(
        [[1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]]
    )  # angles of 0, 90 and 180 degrees, as their signs say
    assert BinaryRobust(columns=["anchor"])(EmbeddingBatch({"anchor": corners})).item() == pytest.approx(0, abs=1e-6)
    skewed = EmbeddingBatch({"anchor": torch.tensor([[1.0, 0.1], [0.1, 1.0]])})  # equal signs, 78.6 degrees apart
    expected = (1 - 2 / math.pi * math.asin(0.2 / 1.01)) ** 2 / 2
    assert BinaryRobust(columns=["anchor"])(skewed).item() == pytest.approx(expected, rel=1e-4)
