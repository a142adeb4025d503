"""The learning rate's decay ends where the run does, whatever ends it."""

from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_fit import refused, run
from tests.training.test_resumed import job, rates, with_schedule

__all__ = ["job"]


@pytest.mark.parametrize(
    ("ends", "steps"),
    [
        ({"max_steps": -1, "max_epochs": 2}, 12),
        ({"max_steps": 30, "max_epochs": 1}, 6),
        ({"max_steps": 4, "max_epochs": 9}, 4),
        ({"max_steps": -1, "max_epochs": 2, "accumulate_grad_batches": 4}, 4),
        ({"max_steps": -1, "max_epochs": 2, "limit_train_batches": 0.5}, 6),
        ({"max_steps": -1, "max_epochs": 2, "limit_train_batches": 4}, 8),
    ],
    ids=["epochs", "epochs first", "steps first", "accumulated", "half an epoch", "four batches an epoch"],
)
def test_a_linear_decay_ends_with_the_run(
    ends: dict[str, Any], steps: int, job: dict[str, Any], tmp_path: Path
) -> None:
    job = with_schedule(job, "WarmupSchedule", warmup_steps=0, decay="linear")
    job["trainer"] |= ends
    run(job, tmp_path)
    found = [rate for rate, _ in rates(tmp_path / "run").values()]
    assert found == pytest.approx([0.01 * (1 - step / steps) for step in range(steps)])


def test_a_decay_whose_end_is_not_known_is_refused(
    job: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job["trainer"] |= {"max_steps": -1, "max_time": "00:00:01:00"}
    decaying = with_schedule(job, "WarmupSchedule", warmup_steps=0, decay="cosine")
    assert "lr_scheduler: decay cosine needs to know the last step" in refused(decaying, tmp_path, capsys)
    for known in ({"decay": "cosine", "total_steps": 8}, {"decay": "constant"}):
        short = job["trainer"] | {"max_time": {"seconds": 0}}
        run(with_schedule(job | {"trainer": short}, "WarmupSchedule", warmup_steps=0, **known), tmp_path)
