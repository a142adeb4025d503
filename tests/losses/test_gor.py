import pytest
import torch
import torch.nn.functional as F

from lightning_embed.batch import EmbeddingBatch
from lightning_embed.losses import GOR, global_orthogonal


def test_equals_the_mean_squared_cosine_of_all_pairs() -> None:
    torch.manual_seed(0)
    v = torch.randn(6, 5, dtype=torch.float64, requires_grad=True)
    pairs = [F.cosine_similarity(v[i], v[j], dim=0) ** 2 for i in range(6) for j in range(6) if i != j]
    expected = torch.stack(pairs).mean()
    got = global_orthogonal(v)
    torch.testing.assert_close(got, expected)
    torch.testing.assert_close(torch.autograd.grad(got, v), torch.autograd.grad(expected, v))


def test_orthogonal_rows_give_0_and_equal_rows_give_1() -> None:
    assert global_orthogonal(torch.eye(4)).item() == pytest.approx(0, abs=1e-6)
    assert global_orthogonal(torch.ones(4, 3)).item() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    "vectors", [torch.randn(1, 4), torch.zeros(3, 4), torch.zeros(0, 4)], ids=["one", "zero", "none"]
)
def test_degenerate_batches_are_zero_with_a_finite_gradient(vectors: torch.Tensor) -> None:
    vectors = vectors.clone().requires_grad_()
    loss = global_orthogonal(vectors)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-6) and vectors.grad is not None and vectors.grad.isfinite().all()


def test_adds_the_columns_up() -> None:
    batch = EmbeddingBatch({"anchor": torch.ones(3, 2), "positive": torch.ones(3, 2)})
    assert GOR()(batch).item() == pytest.approx(2, abs=1e-5)
