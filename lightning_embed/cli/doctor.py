"""`python -m lightning_embed doctor`: takes what `fit` takes, trains nothing, and says what a job comes to."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
from jsonargparse import Namespace
from lightning.pytorch.cli import LightningArgumentParser
from rich.console import Console

from lightning_embed.callbacks.loss_schedule import LossSchedule
from lightning_embed.cli.checkpoints import settle_checkpoints
from lightning_embed.cli.fit import JobCLI
from lightning_embed.cli.fit import run as run_cli
from lightning_embed.cli.loggers import check_loggers
from lightning_embed.cli.monitors import check_monitors
from lightning_embed.cli.trainer import check_trainer, missing_device
from lightning_embed.doctor.loops import set_up_loops
from lightning_embed.doctor.page import print_diagnosis
from lightning_embed.doctor.run import Run, examine
from lightning_embed.doctor.store import check_store
from lightning_embed.errors import UserError
from lightning_embed.training.fsdp2 import check_strategy
from lightning_embed.utils.atomic import write_whole

HERE = Namespace(accelerator="cpu", devices=1, num_nodes=1, strategy="auto", precision="32-true", plugins=None)
"""Settings of the doctor's trainer in place of the job's, whose devices this machine may not have."""


class DoctorCLI(JobCLI):
    """The command line of `fit`, which makes model and data as it does, trains nothing and writes nothing."""

    about = "Read a job's configuration and data, and say what they come to, without training."

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Adds `fit`'s settings and `--json`."""
        super().add_arguments_to_parser(parser)
        parser.add_argument("--json", type=str | None, default=None, help="A file to write all that was found into.")

    def before_instantiate_classes(self) -> None:
        """Looks at the trainer's settings and loggers, and keeps none of these."""
        settings = self.config.trainer
        check_loggers(settings.logger)
        settings.logger = None
        check_strategy(settings.strategy, settings.precision)
        check_trainer(settings)
        settle_checkpoints(self.config, Path(settings.default_root_dir or "runs/run"))

    def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
        """A trainer on one CPU, whatever the devices of the job; what its callbacks say of the losses' weights counts."""
        self.config_init.trainer.update(HERE)
        trainer = super().instantiate_trainer(**kwargs)
        check_monitors(trainer, self.model, self.datamodule)
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, LossSchedule):
                callback.setup(trainer, self.model, "fit")
        return trainer

    def after_instantiate_classes(self) -> None:
        """Looks, prints, and raises `UserError` at what a source lacks."""
        run = run_of(self.config.trainer)
        with Console(stderr=True).status("reading") as status:
            found = examine(self.model, self.datamodule, run, lambda text: status.update(f"reading {text}"))
        print_diagnosis(found)
        if self.config.json is not None:
            write_json(Path(self.config.json), asdict(found))
        missing = missing_device(self.config.trainer.accelerator)
        warnings = [*found.warnings, *([missing] if missing else [])]
        for warning in warnings:
            print(f"warning: {warning}")
        self.model.check_sources(self.datamodule.given, run.max_steps)
        check_store(self.model, self.datamodule)
        set_up_loops(self.model, self.datamodule, self.config_init.trainer)
        if not warnings:
            print("nothing wrong")


def run_of(trainer: Any) -> Run:
    """What the trainer's settings say.

    Args:
        trainer: The namespace of its settings.
    """
    gpus = torch.cuda.device_count() if trainer.accelerator in ("auto", "gpu", "cuda") else 0
    ranks = devices(trainer.devices, gpus) * (trainer.num_nodes or 1)
    return Run(
        max_steps=trainer.max_steps if trainer.max_steps > 0 else None,
        max_epochs=trainer.max_epochs if (trainer.max_epochs or 0) > 0 else None,
        accumulate=trainer.accumulate_grad_batches or 1,
        ranks=ranks,
        on_gpu=gpus > 0,
        mixed="mixed" in str(trainer.precision) or str(trainer.precision) in ("bf16", "16"),
        shard=shard(trainer.strategy, ranks),
        validate_every=validate_every(trainer.val_check_interval),
        validate_epochs=trainer.check_val_every_n_epoch,
    )


def validate_every(interval: Any) -> int | float | None:
    """trainer.val_check_interval as a number; None where it is a time.

    Args:
        interval: As it is set; None: after each epoch.
    """
    return 1.0 if interval is None else interval if isinstance(interval, int | float) else None


def shard(strategy: Any, ranks: int) -> int:
    """How many devices share the weights; 0 where each has all.

    Args:
        strategy: trainer.strategy: a name, or what has a `class_path`.
        ranks: W.
    """
    name = strategy if isinstance(strategy, str) else getattr(strategy, "class_path", "")
    if name.rpartition(".")[2].lower() != "fsdp2":
        return 0
    settings = getattr(strategy, "init_args", None) or {}
    return settings.get("shard") or max(1, ranks // (settings.get("replicate") or 1))


def devices(asked: Any, gpus: int) -> int:
    """How many devices a setting asks for.

    Args:
        asked: A number, a list, `auto`, or one of these as text.
        gpus: How many GPUs there are, if they are used.
    """
    if isinstance(asked, list | tuple):
        return len(asked)
    text = str(asked)
    if "," in text:
        return len([one for one in text.split(",") if one.strip()])
    return int(text) if text.isdigit() and int(text) > 0 else max(1, gpus)


def write_json(file: Path, content: dict[str, Any]) -> None:
    """Writes a file whole or not at all.

    Args:
        file: Where.
        content: What.
    """
    try:
        write_whole(file, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    except OSError as error:
        raise UserError(f"--json {file}: it cannot be written ({error.strerror}); give another file") from None


def run(arguments: list[str]) -> None:
    """Runs `doctor`.

    Args:
        arguments: What follows its name.
    """
    run_cli(["doctor", *arguments], DoctorCLI)
