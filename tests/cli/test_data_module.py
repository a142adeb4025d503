"""A LightningDataModule of the user's own, whose batches are TokenBatches."""

from pathlib import Path
from typing import Any

import lightning.pytorch as L
import pytest
from torch.utils.data import DataLoader

from lightning_embed.batch import TokenBatch
from lightning_embed.datamodules import EmbeddingDataModule
from tests.cli.test_fit import config, losses, refused, run


class Own(L.LightningDataModule):
    """Makes its batches by another data module.

    Args:
        file: Pairs.
        rows: Of a batch.
    """

    def __init__(self, file: str, rows: int = 8) -> None:
        super().__init__()
        self.inner = EmbeddingDataModule(file, global_batch_size=rows, num_workers=0)

    def setup(self, stage: str) -> None:
        assert self.trainer is not None
        self.inner.tokenizers = self.trainer.lightning_module.tokenizers  # type: ignore[assignment]
        self.inner.setup(stage)

    def train_dataloader(self) -> DataLoader[TokenBatch]:
        return self.inner.train_dataloader()


@pytest.fixture
def job(teacher: Path, student: Path, pairs: Path, tmp_path: Path) -> dict[str, Any]:
    made = config(teacher, student, pairs, tmp_path / "run")
    made["data"] = {"class_path": "tests.cli.test_data_module.Own", "init_args": {"file": str(pairs)}}
    made["trainer"] |= {"max_steps": 2, "enable_model_summary": False}
    return made


def test_a_data_module_of_ones_own_trains(
    job: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(job, tmp_path, "--data.rows", "4")
    assert len(losses(tmp_path / "run")) == 2 and (tmp_path / "run/checkpoints/last.ckpt").exists()
    assert "report: it needs an EmbeddingDataModule" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["doctor", "cache"])
def test_commands_that_read_sources_say_so(
    command: str, job: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        run(job, tmp_path, command=command)
    assert stop.value.code == 2
    assert f"`{command}` reads the sources of an EmbeddingDataModule, got Own" in capsys.readouterr().err


def test_its_settings_are_checked_by_name(
    job: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job["data"]["init_args"]["row"] = 4
    assert "data.init_args.row: there is no such setting; did you mean rows?" in refused(job, tmp_path, capsys)


def test_settings_without_a_class_are_those_of_the_usual_data_module(
    job: dict[str, Any], pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job["data"] = {"train": str(pairs), "num_workers": 0, "global_batch_size": 16}
    run(job, tmp_path, "--report.enabled", "false")
    assert len(losses(tmp_path / "run")) == 2
