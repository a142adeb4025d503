"""Where the projection starts: the orthogonal map that fits best, and what it does to a run's first step."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from lightning_embed.heads import Projection
from lightning_embed.heads.projection import orthogonal_map
from lightning_embed.training.projection_start import best_share, fit_projection
from tests.cli.test_fit import config, losses, run


def rotation(size: int) -> Tensor:
    return torch.linalg.qr(torch.randn(size, size, generator=torch.Generator().manual_seed(size)))[0]


def some(rows: int, columns: int, seed: int) -> Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


def test_a_quarter_turn_is_found() -> None:
    x = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    y = torch.tensor([[0.0, 1.0], [-1.0, 0.0]])
    found = orthogonal_map(y.T @ x, torch.eye(2))
    torch.testing.assert_close(found, torch.tensor([[0.0, -1.0], [1.0, 0.0]]), atol=1e-3, rtol=0)


@pytest.mark.parametrize(("inside", "outside"), [(6, 6), (4, 6), (6, 4)])
def test_no_other_orthogonal_map_fits_better(inside: int, outside: int) -> None:
    x, y = normalize(some(50, inside, 0), dim=-1), normalize(some(50, outside, 1), dim=-1)
    found = orthogonal_map(y.T @ x, some(outside, inside, 2))
    least = torch.eye(min(inside, outside))
    gram = found.T @ found if inside <= outside else found @ found.T
    torch.testing.assert_close(gram, least, atol=1e-5, rtol=0)
    fit = sum(float(b @ found @ a) for a, b in zip(x, y, strict=True))
    for seed in range(200):
        near = torch.linalg.svd(found + 0.1 * some(outside, inside, seed), full_matrices=False)
        other = near[0] @ near[2]
        assert sum(float(b @ other @ a) for a, b in zip(x, y, strict=True)) < fit + 1e-2


def test_without_any_text_it_is_the_nearest_orthogonal_map_to_the_prior() -> None:
    turn = rotation(5)
    torch.testing.assert_close(orthogonal_map(torch.zeros(5, 5), 0.3 * turn), turn)


def test_directions_that_no_text_has_are_the_priors() -> None:
    turned = torch.block_diag(torch.eye(2), rotation(2))
    found = orthogonal_map(torch.diag(torch.tensor([1.0, 1.0, 0.0, 0.0])), turned)
    torch.testing.assert_close(found, turned)


def batches(noise: float, turned: bool = False, size: int = 16, rows: int = 4) -> Iterator[tuple[Tensor, Tensor]]:
    """Without an end, teacher vectors and, as the student's, the same with noise, perhaps in another space."""
    turn = rotation(size) if turned else torch.eye(size)
    spectrum = torch.linspace(2, 0.2, size)
    for seed in range(10**6):
        teacher = some(rows, size, seed) * spectrum
        yield (teacher + noise * some(rows, size, 10**6 + seed)) @ turn, teacher


def fitted(pairs: Iterator[tuple[Tensor, Tensor]], size: int = 16) -> tuple[Tensor, int]:
    """W, and how many texts it took."""
    projection, taken = Projection(), 0
    projection.fit_to(size, size)

    def counted() -> Iterator[tuple[Tensor, Tensor]]:
        nonlocal taken
        for student, teacher in pairs:
            taken += len(student)
            yield student, teacher

    fit_projection(projection, counted(), lambda tensor: tensor)
    return projection.weight.detach(), taken


def mean_cosine(weight: Tensor, pairs: Iterator[tuple[Tensor, Tensor]], skipped: int = 500) -> float:
    """On texts that are far behind those that were fitted."""
    new = [pair for number, pair in zip(range(skipped + 200), pairs, strict=False) if number >= skipped]
    student, teacher = (torch.cat(list(column)) for column in zip(*new, strict=True))
    return float((normalize(student) @ weight.T * normalize(teacher)).sum(dim=1).mean())


def test_a_student_close_to_its_teacher_takes_few_texts_and_starts_closer_than_by_the_texts_alone() -> None:
    weight, texts = fitted(batches(noise=1.5))
    assert texts == 16
    plain = torch.zeros(16, 16)
    for (student, teacher), _ in zip(batches(noise=1.5), range(texts // 4), strict=False):
        plain += normalize(teacher).T @ normalize(student)
    alone = mean_cosine(orthogonal_map(plain, torch.eye(16)), batches(noise=1.5))
    assert mean_cosine(weight, batches(noise=1.5)) > alone + 0.05


def test_a_student_of_another_space_takes_all_texts_and_is_fitted_to_them_alone() -> None:
    weight, texts = fitted(batches(noise=0.1, turned=True))
    assert texts == 64
    assert mean_cosine(weight, batches(noise=0.1, turned=True)) > 0.95
    assert float((weight - rotation(16)).abs().max()) < 0.2


def test_the_share_of_the_identity_by_hand() -> None:
    eye, quarter = torch.eye(2), torch.tensor([[0.0, -1.0], [1.0, 0.0]])
    assert best_share(eye / 2, 0 * eye) == 0.0  # nothing to try it on
    assert best_share(quarter / 2, quarter / 2) == 0.0  # I only pulls away from the turn that both halves have
    assert (
        best_share(quarter / 20, eye / 2) >= 0.3
    )  # one half's turn is chance: with I, its map fits the other's better


@pytest.mark.parametrize("direction", ["student_to_teacher", "teacher_to_student"])
def test_a_student_that_is_its_teacher_already_starts_next_to_it(
    direction: str, teacher: Path, pairs: Path, tmp_path: Path
) -> None:
    job = config(teacher, teacher, pairs, tmp_path / "run")
    job["trainer"]["max_steps"] = 1
    found = {}
    for start in ("fitted", "random"):
        job["trainer"]["default_root_dir"] = str(tmp_path / start)
        job["model"]["init_args"]["projection"] = {"direction": direction, "start": start}
        run(job, tmp_path, "--report.enabled", "false")
        found[start] = losses(tmp_path / start)[0]
    assert found["fitted"] < 0.01 and found["random"] > 0.5


def test_a_run_that_goes_on_keeps_the_projection_that_it_has(
    teacher: Path, student: Path, pairs: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    job = config(teacher, student, pairs, tmp_path / "run")
    job["trainer"]["max_steps"] = 2
    run(job, tmp_path, "--report.enabled", "false")
    assert "fitting the projection to the first" in capfd.readouterr().err
    job["trainer"]["max_steps"] = 4
    run(job, tmp_path, "--report.enabled", "false", "--ckpt_path", "last")
    assert "projection: fitted" not in capfd.readouterr().err
    whole = config(teacher, student, pairs, tmp_path / "whole")
    run(whole, tmp_path, "--report.enabled", "false")
    assert losses(tmp_path / "run") == losses(tmp_path / "whole")


def test_a_run_without_a_loss_that_needs_the_teacher_fits_nothing(
    teacher: Path, student: Path, pairs: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    job = config(teacher, student, pairs, tmp_path / "run")
    job["model"]["init_args"]["losses"] = {"nce": {"loss": "InfoNCE"}}
    job["trainer"]["max_steps"] = 1
    run(job, tmp_path, "--report.enabled", "false")
    assert "projection: fitted" not in capfd.readouterr().err
