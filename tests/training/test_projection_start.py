"""Where the projection starts: the orthogonal map that fits best, and what it does to a run's first step."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from lightning_embed.heads.projection import orthogonal_map
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
