"""What training logs of its losses: means since the last log, by loss and source, without gaps that mean something else."""

import json
from pathlib import Path
from typing import Any

import pandas
import pytest
import torch
import torch.distributed as dist

from lightning_embed.training.loss_log import LossLog
from tests.cli.test_fit import config, run
from tests.forks import run_ranks
from tests.toys import toy_pairs

Job = dict[str, Any]


def test_a_mean_is_over_the_batches_that_had_the_loss() -> None:
    log = LossLog()
    log.add("a", {"nce": torch.tensor(1.0)})
    log.add("a", {"nce": torch.tensor(2.0), "gor": torch.tensor(5.0)})
    log.add("a", {"nce": torch.tensor(6.0)})
    assert log.means() == {"nce": 3.0, "gor": 5.0}
    log.clear()
    assert log.means() == {}


def test_several_sources_have_means_of_their_own() -> None:
    log = LossLog()
    for source, name, value in [("a", "nce", 1.0), ("b", "sts", 4.0), ("a", "nce", 3.0), ("b", "nce", 8.0)]:
        log.add(source, {name: torch.tensor(value)})
    assert log.means() == {"nce": 4.0, "sts": 4.0, "a/nce": 2.0, "b/sts": 4.0, "b/nce": 8.0}


def test_a_logged_value_keeps_no_graph() -> None:
    weight = torch.ones((), requires_grad=True)
    log = LossLog()
    log.add("a", {"nce": weight * 2})
    assert not any(total.requires_grad for total in log._sums.values())


def worker(rank: int, store: str, out: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    log = LossLog()
    log.add("a", {"nce": torch.tensor(1.0 + 2 * rank)})
    torch.save(log.means(), f"{out}{rank}")
    dist.destroy_process_group()


def test_ranks_log_the_mean_over_ranks(tmp_path: Path) -> None:
    run_ranks(worker, (str(tmp_path / "store"), str(tmp_path / "out")), 2)
    assert [torch.load(tmp_path / f"out{rank}", weights_only=True) for rank in range(2)] == [{"nce": 2.0}] * 2


@pytest.fixture
def job(teacher: Path, student: Path, pairs: Path, tmp_path: Path) -> Job:
    return config(teacher, student, pairs, tmp_path / "run")


@pytest.fixture
def mixed(job: Job, tmp_path: Path) -> Job:
    """Pairs and scored pairs in strict turn, each with a loss of its own."""
    rows = [row | {"score": i / 64} for i, row in enumerate(toy_pairs(64))]
    file = tmp_path / "scored.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    job["data"]["init_args"] |= {
        "mixture": "round_robin",
        "train": job["data"]["init_args"]["train"] + [{"path": str(file)}],
    }
    job["model"]["init_args"]["losses"] = {
        "nce": {"loss": "InfoNCE", "when": "no score"},
        "cosent": {"loss": "CoSENT", "when": "score"},
    }
    job["model"]["init_args"]["projection"] = None
    return job


def table_of(folder: Path) -> pandas.DataFrame:
    return pandas.read_csv(folder / "csv/version_0/metrics.csv").dropna(subset="train/loss").reset_index()


def test_sources_in_turn_are_all_seen_in_the_log(mixed: Job, tmp_path: Path) -> None:
    words = ("--report.enabled", "false", "--trainer.max_steps", "9")
    run(mixed, tmp_path, *words, "--trainer.log_every_n_steps", "1")
    each = table_of(tmp_path / "run")
    mixed["trainer"]["default_root_dir"] = str(tmp_path / "sparse")
    run(mixed, tmp_path, *words, "--trainer.log_every_n_steps", "4")
    sparse = table_of(tmp_path / "sparse")
    assert sparse["step"].tolist() == [3, 7, 8]  # the last is what was left
    for name in ("train/loss", "train/nce", "train/cosent", "train/scored/cosent"):
        expected = [each[name][start : start + 4].mean() for start in (0, 4, 8)]
        assert sparse[name].tolist() == pytest.approx(expected, rel=1e-5, nan_ok=True), name
    assert sparse["train/nce"].notna().all() and sparse["train/cosent"].isna().tolist() == [False, False, True]


def test_every_loss_can_be_monitored_at_every_step(
    mixed: Job, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stop = {
        "class_path": "EarlyStopping",
        "init_args": {"monitor": "train/cosent", "patience": 100, "check_on_train_epoch_end": False},
    }
    mixed["trainer"] |= {"callbacks": [stop], "val_check_interval": 3, "check_val_every_n_epoch": None}
    run(mixed, tmp_path, "--report.enabled", "false", "--trainer.max_steps", "9", "--trainer.log_every_n_steps", "2")
    assert "not finite" not in capsys.readouterr().out
    assert table_of(tmp_path / "run")["step"].tolist() == [1, 3, 5, 7, 8]


def test_accumulated_gradients_log_the_mean_of_all_their_batches(job: Job, tmp_path: Path) -> None:
    run(
        job,
        tmp_path,
        "--report.enabled",
        "false",
        "--trainer.accumulate_grad_batches",
        "2",
        "--trainer.log_every_n_steps",
        "2",
    )
    assert table_of(tmp_path / "run")["step"].tolist() == [1, 3]


def test_no_log_at_all_is_a_run_like_any_other(job: Job, tmp_path: Path) -> None:
    run(job, tmp_path, "--report.enabled", "false", "--trainer.log_every_n_steps", "0")
    assert (tmp_path / "run/checkpoints/last.ckpt").exists()
