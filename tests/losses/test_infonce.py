import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_embed.batch import EmbeddingBatch
from lightning_embed.losses import InfoNCE, info_nce, slices


def by_loops(anchor: Tensor, documents: Tensor, temperature: float) -> Tensor:
    total = torch.zeros((), dtype=anchor.dtype)
    for i in range(len(anchor)):
        s = [torch.exp(F.cosine_similarity(anchor[i], d, dim=0) / temperature) for d in documents]
        total = total - torch.log(s[i] / sum(s))
    return total / len(anchor)


def test_value_and_gradients_equal_the_loops() -> None:
    torch.manual_seed(0)
    a = torch.randn(5, 7, dtype=torch.float64, requires_grad=True)
    d = torch.randn(8, 7, dtype=torch.float64, requires_grad=True)
    expected = by_loops(a, d, 0.3)
    wanted = torch.autograd.grad(expected, (a, d))
    got = info_nce(a, d, temperature=0.3)
    torch.testing.assert_close(got, expected)
    torch.testing.assert_close(torch.autograd.grad(got, (a, d)), wanted)


def test_gradients_pass_the_finite_difference_check_with_a_learnable_temperature() -> None:
    torch.manual_seed(1)
    a, d = (torch.randn(n, 3, dtype=torch.float64, requires_grad=True) for n in (4, 6))
    t = torch.tensor(0.2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a, d, t: info_nce(a, d, None, t), (a, d, t))


def test_slices_of_one_anchor_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(2)
    a, d = (torch.randn(n, 4, dtype=torch.float64, requires_grad=True) for n in (6, 9))
    whole = info_nce(a, d)
    wanted = torch.autograd.grad(whole, (a, d))
    monkeypatch.setattr(slices, "SLICE", 9)
    sliced = info_nce(a, d)
    torch.testing.assert_close(sliced, whole)
    torch.testing.assert_close(torch.autograd.grad(sliced, (a, d)), wanted)


def test_two_orthogonal_pairs_by_hand() -> None:
    eye = torch.eye(2)
    assert info_nce(eye, eye, temperature=1.0).item() == pytest.approx(math.log(1 + math.exp(-1)))


@pytest.mark.parametrize(
    "vectors",
    [torch.randn(1, 4), torch.zeros(3, 4), torch.ones(3, 4), 1e4 * torch.randn(3, 4), torch.randn(3, 4).bfloat16()],
    ids=["one row", "norm 0", "all equal", "norm 1e4", "bf16"],
)
def test_degenerate_batches_are_finite(vectors: Tensor) -> None:
    a, d = vectors.clone().requires_grad_(), vectors.clone().requires_grad_()
    loss = info_nce(a, d)
    loss.backward()
    assert loss.dtype == torch.float32 and loss.isfinite() and a.grad is not None and a.grad.isfinite().all()


def batch(keys: list[int], negatives: int = 0) -> EmbeddingBatch:
    torch.manual_seed(3)
    n = len(keys)
    student = {"anchor": torch.randn(n, 4), "positive": torch.randn(n, 4)}
    ids = {"anchor": torch.arange(100, 100 + n), "positive": torch.tensor(keys)}
    if negatives:
        student["negative"], ids["negative"] = torch.randn(negatives, 4), torch.arange(200, 200 + negatives)
    return EmbeddingBatch(student, keys=ids, source="toy")


def test_equal_positives_are_no_negatives_of_each_other() -> None:
    same = batch([1, 1])
    assert InfoNCE()(same).item() == 0
    assert InfoNCE(mask_same_text=False)(same).item() > 0


def test_a_document_that_is_the_anchors_own_text_is_no_negative() -> None:
    own = batch([1, 100])  # row 1's document is row 0's anchor text
    a, d = own.student["anchor"], own.student["positive"]
    assert InfoNCE()(own).item() == pytest.approx(info_nce(a[1:], d[[1, 0]]).item() / 2, rel=1e-5)


def test_documents_of_the_anchors_label_are_no_negatives() -> None:
    labelled = batch([1, 2])
    labelled.label = {"anchor": torch.tensor([0, 0]), "positive": torch.tensor([0, 0])}
    assert InfoNCE()(labelled).item() == 0


def test_mined_negatives_are_negatives_of_every_anchor() -> None:
    mined = batch([1, 2], negatives=3)
    documents = torch.cat([mined.student["positive"], mined.student["negative"]])
    assert InfoNCE()(mined).item() == pytest.approx(info_nce(mined.student["anchor"], documents).item(), rel=1e-5)


def test_symmetric_adds_the_other_direction() -> None:
    plain = batch([1, 2, 3])
    a, d = plain.student["anchor"], plain.student["positive"]
    expected = info_nce(a, d) + info_nce(d, a)
    assert InfoNCE(symmetric=True)(plain).item() == pytest.approx(expected.item(), rel=1e-5)


def test_what_the_teacher_finds_as_good_as_the_positive_is_no_negative() -> None:
    guided = batch([1, 2])
    guided.teacher = {"anchor": torch.ones(2, 4), "positive": torch.ones(2, 4)}
    assert InfoNCE(teacher_margin=0.1)(guided).item() == 0


def test_the_temperature_stays_above_its_floor() -> None:
    loss = InfoNCE(temperature=0.05, learnable_temperature=True, min_temperature=0.01)
    with torch.no_grad():
        loss.log_temperature.fill_(-100)
    loss.on_step_end(loss, 1)
    assert loss.temperature.item() == pytest.approx(0.01)
