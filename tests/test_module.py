"""What a subclass of EmbeddingModule may change."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import pytest
import torch
from torch import Tensor

from examples.custom_module import SourceWeights
from lightning_embed import EmbeddingDataModule, EmbeddingModule, LossTerm, TextEncoder, UserError
from lightning_embed.batch import EmbeddingBatch, TokenBatch
from lightning_embed.datamodules.sources import Source
from lightning_embed.losses import GOR, CoSENT, EmbeddingLoss, InfoNCE


class Logged(L.Callback):
    """Keeps what each step logs."""

    def __init__(self) -> None:
        self.steps: list[dict[str, float]] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.steps.append({name: float(value) for name, value in trainer.callback_metrics.items()})


def trained(module: EmbeddingModule, pairs: Path, folder: Path, steps: int = 2) -> list[dict[str, float]]:
    """What each step of a short run logs."""
    logged = Logged()
    trainer = L.Trainer(
        accelerator="cpu", max_steps=steps, log_every_n_steps=1, callbacks=[logged], logger=False, default_root_dir=folder,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, use_distributed_sampler=False,
    )  # fmt: skip
    trainer.fit(module, EmbeddingDataModule([Source(str(pairs), name="web")], global_batch_size=8, num_workers=0))
    return logged.steps


def parts(student: Path, **weights: Any) -> dict[str, Any]:
    """The arguments of a module with two losses."""
    losses: dict[str, EmbeddingLoss] = {"nce": InfoNCE(), "gor": GOR()}
    torch.manual_seed(0)
    terms = {name: LossTerm(losses[name], weights.get(name, 1.0)) for name in losses}
    return {"student": TextEncoder(str(student), dropout=0.0), "losses": terms}


class Additional(EmbeddingModule):
    """Adds a value that is no loss of the configuration."""

    def compute_losses(self, batch: EmbeddingBatch, losses: Mapping[str, EmbeddingLoss]) -> dict[str, Tensor]:
        values = super().compute_losses(batch, losses)
        return values | {"length": 0.5 * batch.student["anchor"].square().mean()}


class Silent(EmbeddingModule):
    """Has no losses at all."""

    def compute_losses(self, batch: EmbeddingBatch, losses: Mapping[str, EmbeddingLoss]) -> dict[str, Tensor]:
        return {}


def test_a_value_that_a_subclass_adds_is_logged_and_has_weight_1(student: Path, pairs: Path, tmp_path: Path) -> None:
    plain = trained(EmbeddingModule(**parts(student, nce=2.0)), pairs, tmp_path)[0]
    found = trained(Additional(**parts(student, nce=2.0)), pairs, tmp_path)[0]
    assert found["train/nce"] == plain["train/nce"] and found["train/gor"] == plain["train/gor"]
    assert found["weight/length"] == 1 and found["weight/nce"] == 2 and found["train/length"] > 0
    assert found["train/loss"] == pytest.approx(plain["train/loss"] + found["train/length"], rel=1e-6)


def test_a_value_that_a_subclass_changes_is_weighted_afterwards(student: Path, pairs: Path, tmp_path: Path) -> None:
    plain = trained(EmbeddingModule(**parts(student, nce=2.0)), pairs, tmp_path)[0]
    found = trained(SourceWeights(**parts(student, nce=2.0)), pairs, tmp_path)[0]
    assert found["train/nce"] == pytest.approx(plain["train/nce"] / 2)
    assert found["train/loss"] == pytest.approx(found["train/gor"] + 2 * found["train/nce"], rel=1e-6)


def test_compute_losses_gets_the_losses_that_are_active_at_the_step(student: Path, pairs: Path, tmp_path: Path) -> None:
    steps = trained(EmbeddingModule(**parts(student, gor={1: 3.0})), pairs, tmp_path)
    assert "train/gor" not in steps[0] and steps[1]["weight/gor"] == 3
    assert steps[0]["train/loss"] == steps[0]["train/nce"]


def test_a_step_without_any_value_is_refused(student: Path, pairs: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no loss for a batch of source 'web' has a weight other than 0 at step 0"):
        trained(Silent(**parts(student)), pairs, tmp_path)


def test_the_losses_of_a_batch_can_be_computed_by_hand(student: Path) -> None:
    module = EmbeddingModule(**parts(student))
    tokens = {role: module.student.tokenizer(["w1 w2", "w3"], "query")[0] for role in ("anchor", "positive")}
    losses = {"gor": module.terms["gor"].loss}
    vectors = module.encode(TokenBatch(tokens), losses.values())
    assert module.compute_losses(vectors, losses).keys() == {"gor"}
    with pytest.raises(UserError, match="score"):
        module.compute_losses(vectors, {"cosent": CoSENT()})


class Stops(L.Callback):
    """Ends a run by an error in the middle of a validation, or before the first log."""

    def __init__(self, where: str) -> None:
        self.where = where

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self.where == "training":
            raise RuntimeError("stop")

    def on_validation_batch_end(self, trainer: Any, pl_module: Any, *rest: Any) -> None:
        if self.where == "validation":
            raise RuntimeError("stop")


@pytest.mark.parametrize("where", ["training", "validation"])
def test_a_run_that_failed_leaves_nothing_in_the_next_ones_scores_and_losses(
    student: Path, pairs: Path, tmp_path: Path, where: str
) -> None:
    """The learning rate is 0, so that each fit has the same losses and scores."""

    def fit(module: EmbeddingModule, *callbacks: L.Callback) -> dict[str, float]:
        source = [Source(str(pairs), name="web")]
        data = EmbeddingDataModule(source, source, global_batch_size=8, eval_batch_size=16, num_workers=0)
        trainer = L.Trainer(
            accelerator="cpu", max_steps=2, log_every_n_steps=2, val_check_interval=1, callbacks=list(callbacks), logger=False,
            default_root_dir=tmp_path, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
            num_sanity_val_steps=0, use_distributed_sampler=False,
        )  # fmt: skip
        trainer.fit(module, data)
        return {name: float(value) for name, value in trainer.callback_metrics.items()}

    def module() -> EmbeddingModule:
        return EmbeddingModule(**parts(student), optimizer=lambda groups: torch.optim.SGD(groups, lr=0.0))

    used = module()
    with pytest.raises(RuntimeError, match="stop"):
        fit(used, Stops(where))
    assert fit(used) == pytest.approx(fit(module()), rel=1e-6)
