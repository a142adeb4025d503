import pytest
import torch
import torch.nn.functional as F

from lightning_embed.batch import EmbeddingBatch
from lightning_embed.errors import UserError
from lightning_embed.heads import Projection
from lightning_embed.losses import GOR, Distillation, Matryoshka, distillation
from lightning_embed.losses.requirements import teacher_roles


def batch(student_dim: int = 3, teacher_dim: int = 3) -> EmbeddingBatch:
    torch.manual_seed(0)
    roles = ("anchor", "positive")
    return EmbeddingBatch(
        {role: torch.randn(4, student_dim) for role in roles}, {role: torch.randn(4, teacher_dim) for role in roles}
    )


def test_cosine_is_the_mean_over_rows_and_columns() -> None:
    b = batch()
    terms = [1 - F.cosine_similarity(b.student[r][i], b.teacher[r][i], dim=0) for r in b.student for i in range(4)]
    assert Distillation()(b).item() == pytest.approx(torch.stack(terms).mean().item(), rel=1e-5)
    assert Distillation(reduction="sum")(b).item() == pytest.approx(torch.stack(terms).sum().item(), rel=1e-5)


def test_the_other_metrics_by_hand() -> None:
    s, t = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 5.0]])
    assert distillation(s, t, "squared_l2").item() == 13 and distillation(s, t, "mse").item() == 6.5


def test_a_truncated_student_goes_through_the_first_columns_of_psi() -> None:
    b = batch(4, 6)
    b.projection = Projection(4, 6)
    w, bias = b.projection.weight, b.projection.bias

    def at(k: int) -> torch.Tensor:
        units = {role: F.normalize(b.student[role][:, :k], dim=-1) for role in b.student}
        mapped = [F.linear(units[role], w[:, :k], bias) for role in units]
        return 1 - F.cosine_similarity(torch.cat(mapped), torch.cat(list(b.teacher.values()))).mean()

    assert Distillation()(b.truncate(2)).item() == pytest.approx(at(2).item(), rel=1e-5)
    assert Distillation()(b).item() == pytest.approx(at(4).item(), rel=1e-5)


def test_sizes_that_differ_without_a_projection_are_an_error() -> None:
    with pytest.raises(UserError, match="3 entries, the teacher's 6"):
        Distillation()(batch(3, 6))


def test_a_batch_without_teacher_vectors_is_named() -> None:
    b = EmbeddingBatch({"anchor": torch.ones(1, 2), "positive": torch.ones(1, 2)}, source="docs")
    with pytest.raises(UserError, match=r"loss 'd' \(Distillation\) requires teacher, .* source 'docs'"):
        Distillation().check("d", b)


@pytest.mark.parametrize("direction", ["student_to_teacher", "teacher_to_student"])
def test_zero_vectors_have_finite_gradients(direction: str) -> None:
    b = batch(2, 3)
    b.student = {role: torch.zeros(4, 2, requires_grad=True) for role in b.student}
    b.projection = Projection(*((2, 3) if direction == "student_to_teacher" else (3, 2)), direction=direction)
    Distillation()(b).backward()
    assert b.student["anchor"].grad.isfinite().all()


def test_a_column_is_taught_the_teachers_vector_of_its_target() -> None:
    b = batch()
    pairs = [("anchor", "anchor"), ("positive", "anchor")]
    terms = [1 - F.cosine_similarity(b.student[s], b.teacher[t]) for s, t in pairs]
    loss = Distillation(targets={"positive": "anchor"})
    assert loss(b).item() == pytest.approx(torch.cat(terms).mean().item(), rel=1e-5)
    assert loss.taught_by == {"anchor"}
    alone = Distillation(["positive"], targets={"positive": "anchor"})
    assert alone(b).item() == pytest.approx(terms[1].mean().item(), rel=1e-5)


def test_the_teacher_is_asked_only_for_the_texts_that_teach() -> None:
    loss = Distillation(targets={"positive": "anchor"})
    asked = [teacher_roles(one) for one in (loss, Matryoshka(loss, dims=[2]), Distillation(), GOR())]
    assert asked == [{"anchor"}, {"anchor"}, {"anchor", "positive"}, set()]


@pytest.mark.parametrize("targets", [{"negative": "anchor"}, {"positive": "negative"}, {"positive": "score"}])
def test_a_target_that_is_no_text_of_the_row_is_refused(targets: dict[str, str]) -> None:
    with pytest.raises(UserError, match="Distillation: targets must map"):
        Distillation(["anchor", "positive", "negative"], targets=targets)
