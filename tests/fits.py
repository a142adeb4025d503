"""Short runs of a toy student under any strategy: by themselves in this process, or several in one spawn of ranks."""

import json
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
import torch.distributed as dist
from lightning.pytorch.callbacks import ModelCheckpoint

from tests.forks import free_port, run_ranks
from tests.toys import toy_folder, toy_pairs

POOLING = {"qwen3": "last_token", "eurobert": "mean", "modernbert": "mean", "bert": "cls"}


@dataclass(frozen=True)
class Fit:
    """A run; its losses and its weights at the end are kept under its name."""

    name: str
    strategy: str = "auto"
    family: str = "qwen3"
    precision: str = "32-true"
    chunked: bool = False
    steps: int = 10
    student: tuple[tuple[str, Any], ...] = ()
    """More arguments of the student, as pairs."""
    trainer: tuple[tuple[str, Any], ...] = ()
    """More arguments of the trainer."""
    start: str = "random"
    """Where the projection starts."""
    shard_teacher: bool = False
    second_teacher: bool = False
    """Whether there is another teacher, of another size, which then has half of the distillation."""
    batch: int = 8
    save_at: int | None = None
    """The step at which NAME.ckpt is written."""
    resume: str | None = None
    """The name of the run whose checkpoint it goes on from."""


def write_inputs(folder: Path, families: tuple[str, ...]) -> None:
    """Toy models and pairs with none to three hard negatives."""
    toy_folder(folder / "teacher", hidden=48, seed=1)
    toy_folder(folder / "second", hidden=40, seed=3)
    for family in families:
        toy_folder(folder / family, family, hidden=32, seed=2)
    rows = [
        pair | {"negative": [f"w{(i * k) % 190} w{k}" for k in range(1, 1 + i % 4)]}
        for i, pair in enumerate(toy_pairs(48))
    ]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def strategy_of(name: str) -> Any:
    """`auto`, `ddp`, `fsdp2`, `fsdp2 folder` (sharded checkpoints) or `fsdp2 2x2` (replicate x shard)."""
    from lightning_embed.training.fsdp2 import FSDP2

    if name == "fsdp2 folder":
        return FSDP2(save_distributed_checkpoint=True)
    if name == "fsdp2 2x2":
        return FSDP2(replicate=2, shard=2)
    return name


class Losses(L.Callback):
    """Keeps the loss of each step, as the mean over ranks."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        loss = outputs["loss"].detach().clone()
        if trainer.world_size > 1:
            dist.all_reduce(loss)
        self.values.append(float(loss) / trainer.world_size)


def module_of(folder: Path, fit: Fit) -> Any:
    """The module: all kinds of losses that train, a projection, a frozen teacher."""
    from lightning_embed.encoders.teacher import FrozenEncoder
    from lightning_embed.encoders.text_encoder import TextEncoder
    from lightning_embed.heads import Projection
    from lightning_embed.losses import GOR, Distillation, InfoNCE, LossTerm, ScoreDistillation
    from lightning_embed.module import EmbeddingModule
    from lightning_embed.schedulers import WarmupSchedule

    L.seed_everything(1, verbose=False)
    settings: dict[str, Any] = {"dropout": 0.0, "max_tokens": 24 if fit.chunked else 16_384}
    settings |= {"checkpoint_chunks": fit.chunked} | dict(fit.student)
    student = TextEncoder(str(folder / fit.family), POOLING[fit.family], **settings)  # type: ignore[arg-type]
    losses = {
        "distill": LossTerm(Distillation(), 2.0),
        "nce": LossTerm(InfoNCE(temperature=0.1, learnable_temperature=True)),
        "gor": LossTerm(GOR()),
    }
    teacher: Any = FrozenEncoder(str(folder / "teacher"), shard=fit.shard_teacher)
    projection: Any = Projection(start=fit.start)  # type: ignore[arg-type]
    if fit.second_teacher:
        teacher = {"first": teacher, "second": FrozenEncoder(str(folder / "second"), shard=fit.shard_teacher)}
        projection = {"first": projection, "second": Projection(start=fit.start)}  # type: ignore[arg-type]
        losses["distill"] = LossTerm(Distillation(), 1.0, teacher="first")
        losses["score"] = LossTerm(ScoreDistillation(temperature=0.2), 1.0, teacher="first")
        losses["other"] = LossTerm(Distillation(), 1.0, teacher="second")
        losses["other score"] = LossTerm(ScoreDistillation(temperature=0.2), 1.0, teacher="second")
    # Adam divides a gradient by its own size: at its default ε one that is nothing but rounding would move weights by a whole step
    optimizer = partial(torch.optim.AdamW, lr=1e-3, eps=1e-4)
    return EmbeddingModule(
        student,
        losses,
        teacher,
        projection,
        optimizer=optimizer,  # type: ignore[arg-type]
        lr_scheduler=partial(WarmupSchedule, warmup_steps=2, total_steps=12, decay="linear"),  # type: ignore[arg-type]
    )


def run_fit(folder: Path, fit: Fit, world: int) -> None:
    """Trains, and writes NAME.pt (losses, weights) and what else is asked for."""
    from lightning_embed.checkpoints.io import CheckpointFiles
    from lightning_embed.cli.warnings_hidden import ignore_warnings
    from lightning_embed.datamodules import EmbeddingDataModule
    from lightning_embed.datamodules.sources import Source
    from lightning_embed.distributed.tensors import unshard

    ignore_warnings()
    losses = Losses()
    callbacks: list[L.Callback] = [losses]
    if fit.save_at is not None:
        callbacks.append(
            ModelCheckpoint(
                folder, fit.name, every_n_train_steps=fit.save_at, save_top_k=-1, enable_version_counter=False
            )
        )
    trainer = L.Trainer(
        accelerator="cpu", devices=world, strategy=strategy_of(fit.strategy), precision=fit.precision,  # type: ignore[arg-type]
        max_steps=fit.steps, gradient_clip_val=1.0, callbacks=callbacks, logger=False, default_root_dir=folder,
        enable_checkpointing=fit.save_at is not None, enable_progress_bar=False, enable_model_summary=False,
        num_sanity_val_steps=0, use_distributed_sampler=False, **dict(fit.trainer),
    )  # fmt: skip
    if not fit.strategy.startswith("fsdp2"):
        trainer.strategy.checkpoint_io = CheckpointFiles()
    data = EmbeddingDataModule([Source(path=str(folder / "pairs.jsonl"))], global_batch_size=fit.batch, num_workers=0)
    module = module_of(folder, fit)
    trainer.fit(module, data, ckpt_path=None if fit.resume is None else str(folder / f"{fit.resume}.ckpt"))
    weights = {name: unshard(value).clone() for name, value in module.state_dict().items()}
    if trainer.is_global_zero:
        torch.save({"losses": losses.values, "weights": weights}, folder / f"{fit.name}.pt")


def _rank(rank: int, folder: str, fits: list[Fit], world: int, port: int) -> None:
    torch.set_num_threads(1)
    os.environ |= {"LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    for fit in fits:
        run_fit(Path(folder), fit, world)
    dist.barrier()
    os._exit(0)  # gloo's threads may abort a process that ends while another one still speaks to it


def run_fits(folder: Path, fits: list[Fit], world: int) -> None:
    """Runs them one after the other, on one rank in this process, on more in others."""
    if world == 1:
        for fit in fits:
            run_fit(folder, fit, 1)
        return
    run_ranks(_rank, (str(folder), fits, world, free_port()), world)


def result(folder: Path, name: str) -> dict[str, Any]:
    """What a run left: `losses` and `weights`."""
    found: dict[str, Any] = torch.load(folder / f"{name}.pt", weights_only=True)
    return found


def differences(one: dict[str, Any], other: dict[str, Any]) -> tuple[float, float]:
    """The greatest difference of two runs' losses, and of their weights."""
    losses = max(abs(a - b) for a, b in zip(one["losses"], other["losses"], strict=True))
    assert one["weights"].keys() == other["weights"].keys()
    return losses, max(float((one["weights"][k] - other["weights"][k]).abs().max()) for k in one["weights"])
