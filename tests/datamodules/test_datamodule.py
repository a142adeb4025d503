"""Lightning's own traps: whatever the trainer's settings, a run that is broken off goes on at the very next row, on the very same path."""

import json
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from lightning_embed.batch import TokenBatch
from lightning_embed.compat.lightning import fix_progress_counters
from lightning_embed.datamodules import EmbeddingDataModule, Source
from lightning_embed.errors import UserError
from lightning_embed.tokenizer import TextTokenizer

pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning says much about runs this small
Seen = list[tuple[str, tuple[int, ...]]]


class Broken(Exception):
    """Stands in for a kill."""


class Watcher(L.LightningModule):
    """Notes which rows it is given, and learns from their numbers, so that each step shows in its weight."""

    def __init__(self, tokenizer: TextTokenizer, stop: int | None, estimate: bool = False) -> None:
        super().__init__()
        self.tokenizers = {"student": tokenizer}
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.stop, self.estimate = stop, estimate
        self.seen: Seen = []

    def configure_optimizers(self) -> Any:
        if self.estimate:
            assert self.trainer.estimated_stepping_batches > 0
        return torch.optim.SGD(self.parameters(), lr=0.01)

    def training_step(self, batch: TokenBatch, batch_idx: int) -> Tensor:
        if self.stop is not None and len(self.seen) == self.stop:
            raise Broken
        self.seen.append((batch.source, tuple(batch.rows)))
        return (self.weight - sum(batch.rows)) ** 2

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        fix_progress_counters(self.trainer, checkpoint)

    def validation_step(self, batch: TokenBatch, batch_idx: int) -> None:
        pass


@pytest.fixture(scope="module")
def tokenizer(student: Path) -> TextTokenizer:
    return TextTokenizer(student, {}, 16, False)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Source]:
    folder = tmp_path_factory.mktemp("sources")
    for name, rows in (("a", 21), ("b", 14)):
        lines = [json.dumps({"anchor": f"w{i}", "positive": f"w{i + 1}"}) + "\n" for i in range(rows)]
        (folder / f"{name}.jsonl").write_text("".join(lines))
    return [Source(str(folder / "a.jsonl"), batch_size=5), Source(str(folder / "b.jsonl"))]  # 4 + 3 steps an epoch


def fit(
    folder: Path, files: list[Source], tokenizer: TextTokenizer, stop: int | None, workers: int, estimate: bool = False,
    saved: dict[str, Any] | None = None, **trainer: Any,
) -> tuple[Seen, float]:  # fmt: skip
    """Trains until the end or until it breaks, going on if it broke before; the rows seen and the weight."""
    data = EmbeddingDataModule(files, files[:1], global_batch_size=4, num_workers=workers, no_duplicates=True)
    module = Watcher(tokenizer, stop, estimate)
    checkpoint = ModelCheckpoint(folder, save_last=True, **(saved or {"every_n_train_steps": 1}))
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False, "accelerator": "cpu"}
    last = folder / "last.ckpt"
    run = L.Trainer(callbacks=[checkpoint], default_root_dir=folder, num_sanity_val_steps=1, **quiet, **trainer)
    try:
        run.fit(module, data, ckpt_path=str(last) if last.exists() else None)
    except Broken:
        assert stop is not None
    return module.seen, float(module.weight.detach())


SETTINGS: dict[str, dict[str, Any]] = {
    "several epochs": {"max_epochs": 3},
    "validation in mid-epoch": {"max_steps": 20, "val_check_interval": 3},
    "validation across epochs": {"max_steps": 20, "val_check_interval": 5, "check_val_every_n_epoch": None},
    "accumulation": {"max_steps": 12, "accumulate_grad_batches": 2},
    "part of each epoch": {"max_steps": 17, "limit_train_batches": 3},
    "loaders made anew each epoch": {"max_epochs": 3, "reload_dataloaders_every_n_epochs": 1},
    "estimated_stepping_batches": {"max_epochs": 3, "estimate": True},
}


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("setting", SETTINGS)
def test_a_broken_run_goes_on_at_the_next_row(
    tmp_path: Path, files: list[Source], tokenizer: TextTokenizer, setting: str, workers: int
) -> None:
    whole, weight = fit(tmp_path / "whole", files, tokenizer, None, 0, **SETTINGS[setting])
    for stop in (1, 6, 7, 8, 13) if workers == 0 else (7,):
        folder = tmp_path / str(stop)
        before, _ = fit(folder, files, tokenizer, stop, workers, **SETTINGS[setting])
        after, end = fit(folder, files, tokenizer, None, workers, **SETTINGS[setting])
        redone = len(before) + len(after) - len(whole)
        assert before + after[redone:] == whole and after[:redone] == before[len(before) - redone :]
        assert 0 <= redone < SETTINGS[setting].get("accumulate_grad_batches", 1) and end == weight


@pytest.mark.parametrize("saved", [{"every_n_epochs": 1}, {"every_n_epochs": 1, "save_on_train_epoch_end": True}])
@pytest.mark.parametrize("stop", [7, 8, 13, 15])
def test_checkpoints_of_validations_and_of_epochs_ends_resume_too(
    tmp_path: Path, files: list[Source], tokenizer: TextTokenizer, saved: dict[str, Any], stop: int
) -> None:
    settings = {"max_epochs": 3, "val_check_interval": 3, "saved": saved}
    whole, weight = fit(tmp_path / "whole", files, tokenizer, None, 0, **settings)
    before, _ = fit(tmp_path / "part", files, tokenizer, stop, 0, **settings)
    after, end = fit(tmp_path / "part", files, tokenizer, None, 0, **settings)
    assert after == whole[len(whole) - len(after) :] and len(before) + len(after) >= len(whole) and end == weight


def test_every_epoch_of_lightning_is_one_of_the_plan_and_reads_each_row_once(
    tmp_path: Path, files: list[Source], tokenizer: TextTokenizer
) -> None:
    seen, _ = fit(tmp_path, files, tokenizer, None, 1, max_epochs=2)
    epochs = [seen[:7], seen[7:]]
    for epoch in epochs:
        for name, rows in (("a", 21), ("b", 14)):
            read = [row for source, rows_of in epoch if source == name for row in rows_of]
            assert len(read) == len(set(read)) and len(read) >= rows - 4
    assert epochs[0] != epochs[1]


def test_going_on_with_other_data_is_refused(tmp_path: Path, files: list[Source], tokenizer: TextTokenizer) -> None:
    fit(tmp_path, files, tokenizer, 3, 0, max_epochs=1)
    with pytest.raises(UserError, match=r"made with other data or batches \(rows \[21, 14\] -> \[21\]"):
        fit(tmp_path, files[:1], tokenizer, None, 0, max_epochs=1)


@pytest.mark.parametrize("accumulated", [2, 3])
@pytest.mark.parametrize("saved", [{"every_n_train_steps": 1}, {"every_n_epochs": 1}])
def test_gradients_gathered_before_a_checkpoint_are_gathered_anew(
    tmp_path: Path, files: list[Source], tokenizer: TextTokenizer, accumulated: int, saved: dict[str, Any]
) -> None:
    settings = {"max_epochs": 4, "accumulate_grad_batches": accumulated, "val_check_interval": 4, "saved": saved}
    whole, weight = fit(tmp_path / "whole", files, tokenizer, None, 0, **settings)
    steps, end = [], 0.0
    for stop in (
        5,
        1,
        3,
        2,
        4,
        1,
        7,
        5,
        None,
    ):  # Lightning saves after the first batch of a resumed run, whatever that is
        seen, end = fit(tmp_path / "part", files, tokenizer, stop, 0, **settings)
        steps.append(seen)
    assert end == weight and steps[-1] == whole[len(whole) - len(steps[-1]) :]


def test_a_checkpoint_that_comes_after_the_data_has_started_is_refused(
    files: list[Source], tokenizer: TextTokenizer
) -> None:
    data = EmbeddingDataModule(files, num_workers=0)
    data.tokenizers = {"student": tokenizer}
    data.train_dataloader()
    with pytest.raises(UserError, match="estimated_stepping_batches"):
        data.load_state_dict({"step": 3})
