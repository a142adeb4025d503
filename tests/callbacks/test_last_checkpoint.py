"""last.ckpt is of the last step, whatever the validation scores are, and at the steps that a job asks for."""

import signal
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import pytest
import torch

from lightning_embed.callbacks.last_checkpoint import LastCheckpoint
from tests.cli.test_fit import config, fork, losses, refused, run


@pytest.fixture
def job(teacher: Path, student: Path, pairs: Path, tmp_path: Path) -> dict[str, Any]:
    """6 steps an epoch, validated after each."""
    made = config(teacher, student, pairs, tmp_path / "run") | {"report": {"enabled": False}}
    made["model"]["init_args"]["losses"]["nce"] = {"loss": "InfoNCE"}
    return made


def step_of(file: Path) -> int:
    return int(torch.load(file, weights_only=True)["global_step"])


class Look(L.Callback):
    """Writes down the step of each last.ckpt that it finds before a batch."""

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        file = Path(trainer.default_root_dir) / "checkpoints/last.ckpt"
        if file.exists():
            with (Path(trainer.default_root_dir) / "seen.txt").open("a") as seen:
                seen.write(f"{step_of(file)}\n")


def written(job: dict[str, Any], tmp_path: Path, steps: int, *words: str) -> list[int]:
    """The steps of which a run wrote last.ckpt, that at its end included."""
    job["trainer"] |= {"max_steps": steps, "callbacks": [{"class_path": f"{__name__}.Look"}]}
    run(job, tmp_path, *words)
    seen = tmp_path / "run/seen.txt"
    steps_seen = [int(line) for line in seen.read_text().split()] if seen.exists() else []
    return list(dict.fromkeys([*steps_seen, step_of(tmp_path / "run/checkpoints/last.ckpt")]))


def test_last_is_of_the_last_step_and_best_of_the_best(job: dict[str, Any], tmp_path: Path) -> None:
    job["model"]["init_args"]["optimizer"]["init_args"]["lr"] = 0.02
    job["trainer"]["max_steps"] = 60
    run(job, tmp_path)
    home = tmp_path / "run/checkpoints"
    assert step_of(home / "last.ckpt") == 60 and step_of(home / "best.ckpt") < 60
    run(job, tmp_path, "--ckpt_path", "last", "--trainer.max_steps", "63")
    assert len(losses(tmp_path / "run")) == 63 and step_of(home / "last.ckpt") == 63


def test_it_is_written_after_each_validation_and_at_the_end(job: dict[str, Any], tmp_path: Path) -> None:
    assert written(job, tmp_path, 14) == [6, 12, 14]


@pytest.mark.parametrize(
    "words",
    [
        ("--last_checkpoint.every_n_steps", "3"),
        ("--checkpoint.every_n_train_steps", "3"),
        ("--checkpoint.every_n_train_steps", "3", "--checkpoint.save_last", "true"),
    ],
    ids=["ours", "Lightning's", "Lightning's, and save_last"],
)
def test_it_is_written_every_so_many_steps(words: tuple[str, ...], job: dict[str, Any], tmp_path: Path) -> None:
    assert written(job, tmp_path, 8, *words) == [3, 6, 8]
    assert step_of(tmp_path / "run/checkpoints/best.ckpt") in (6, 8)


def test_steps_are_enough_where_validations_are_not_to_write_it(job: dict[str, Any], tmp_path: Path) -> None:
    words = ("--last_checkpoint.every_n_steps", "4", "--last_checkpoint.after_validation", "false")
    assert written(job, tmp_path, 9, *words) == [4, 8, 9]


def test_it_is_written_after_so_many_minutes(job: dict[str, Any], tmp_path: Path) -> None:
    assert written(job, tmp_path, 3, "--last_checkpoint.every_minutes", "1e-9") == [1, 2, 3]


def test_without_validation_it_is_written_after_each_epoch_and_nothing_is_called_best(
    job: dict[str, Any], tmp_path: Path
) -> None:
    job["data"]["init_args"]["validation"] = []
    assert written(job, tmp_path, 14) == [6, 12, 14]
    assert not (tmp_path / "run/checkpoints/best.ckpt").exists()


@pytest.mark.slow
def test_with_accumulated_gradients_it_is_of_whole_steps(job: dict[str, Any], tmp_path: Path) -> None:
    job["trainer"] |= {"accumulate_grad_batches": 4, "val_check_interval": 3}
    assert written(job, tmp_path, 5, "--last_checkpoint.every_n_steps", "2") == [1, 2, 3, 4, 5]
    state = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)
    assert state["EmbeddingDataModule"]["step"] == 16  # steps of 4 and 2 batches: 6 batches are an epoch


def test_save_last_false_writes_none(job: dict[str, Any], tmp_path: Path) -> None:
    job["trainer"]["max_steps"] = 7
    run(job, tmp_path, "--checkpoint.save_last", "false")
    assert [file.name for file in (tmp_path / "run/checkpoints").iterdir()] == ["best.ckpt"]


def test_every_checkpoint_can_be_kept(job: dict[str, Any], tmp_path: Path) -> None:
    every = {"monitor": None, "save_top_k": -1, "filename": "at-{step}", "every_n_train_steps": 2}
    job["trainer"]["max_steps"] = 5
    run(job | {"checkpoint": every}, tmp_path)
    home = tmp_path / "run/checkpoints"
    assert {file.name: step_of(file) for file in home.iterdir()} == {"at-2.ckpt": 2, "at-4.ckpt": 4, "last.ckpt": 5}


def test_a_monitor_that_is_not_logged_yet_holds_nothing_up(job: dict[str, Any], tmp_path: Path) -> None:
    """Killed at step 8, before the first validation: the run resumes at step 6, the last that was saved."""
    kill = [{"class_path": "tests.accidents.SignalAt", "init_args": {"step": 8, "name": "SIGKILL"}}]
    job["trainer"] |= {"max_steps": 12, "check_val_every_n_epoch": 2, "callbacks": kill}
    process = fork(job, tmp_path, "--checkpoint.every_n_train_steps", "3")
    output, _ = process.communicate(timeout=300)
    assert process.returncode == -signal.SIGKILL, output[-2000:]
    assert step_of(tmp_path / "run/checkpoints/last.ckpt") == 6
    job["trainer"]["callbacks"] = []
    run(job, tmp_path, "--ckpt_path", "last")
    assert step_of(tmp_path / "run/checkpoints/best.ckpt") == step_of(tmp_path / "run/checkpoints/last.ckpt") == 12


def test_the_best_is_never_a_step_that_was_not_validated(job: dict[str, Any], tmp_path: Path) -> None:
    """Lightning's own saving by steps would take step 9 for the best, by the score of step 6."""
    job["model"]["init_args"]["optimizer"]["init_args"]["lr"] = 0.02
    job["trainer"] |= {"max_steps": 11, "callbacks": [{"class_path": f"{__name__}.Look"}]}
    run(job, tmp_path, "--checkpoint.every_n_train_steps", "3")
    assert step_of(tmp_path / "run/checkpoints/best.ckpt") in (6, 11)  # the ends of the epoch and of the run


def test_numbers_that_cannot_be_are_refused(
    job: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(job, tmp_path, capsys, "--last_checkpoint.every_n_steps", "0")
    assert "every_n_steps must be at least 1 or null, got 0" in said
    said = refused(job, tmp_path, capsys, "--last_checkpoint.every_minutes", "0")
    assert "every_minutes must be above 0 or null, got 0" in said


def test_a_notebooks_trainer_writes_it_too(job: dict[str, Any], tmp_path: Path) -> None:
    module, data = torch.nn.Linear(3, 1), torch.utils.data.DataLoader(torch.randn(20, 3), batch_size=4)

    class Module(L.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = module

        def training_step(self, batch: torch.Tensor) -> torch.Tensor:
            return self.layer(batch).square().mean()

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), 0.1)

    trainer = L.Trainer(
        accelerator="cpu", max_steps=7, default_root_dir=tmp_path, callbacks=[LastCheckpoint()], logger=False,
        enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=True,
    )  # fmt: skip
    trainer.fit(Module(), data)
    assert step_of(tmp_path / "checkpoints/last.ckpt") == 7
