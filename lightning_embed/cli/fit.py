"""The command line of fit, cache, validate, test and predict: LightningCLI, one-line errors, and a folder for each run."""

import logging
import re
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any

import lightning.pytorch as L
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.plugins.io import TorchCheckpointIO

import lightning_embed.losses
import lightning_embed.schedulers  # noqa: F401  (short names in YAML are found among imported classes)
from lightning_embed.callbacks.average import AverageCheckpoints
from lightning_embed.callbacks.interrupt import SaveOnInterrupt
from lightning_embed.callbacks.prediction_writer import PredictionWriter
from lightning_embed.callbacks.report import Report
from lightning_embed.callbacks.throughput import Throughput
from lightning_embed.checkpoints.integrity import require_training_state, require_whole
from lightning_embed.checkpoints.io import CheckpointFiles
from lightning_embed.cli.cache import CacheTrainer, add_options, verify_or_import
from lightning_embed.cli.checkpoints import add_checkpoints, settle_checkpoints
from lightning_embed.cli.parser import error_line, exit_in_one_line, fail
from lightning_embed.cli.run_folder import run_folder
from lightning_embed.compat.lightning import started_processes
from lightning_embed.datamodules import EmbeddingDataModule
from lightning_embed.distributed.failure import is_one_of_several, leave_after, watch
from lightning_embed.module import EmbeddingModule
from lightning_embed.training.fsdp2 import check_strategy

PRESET = Path(__file__).parents[1] / "presets" / "quickstart.yaml"


class FitParser(LightningArgumentParser):
    """Lightning's parser, which reports a mistake in one line."""

    error = exit_in_one_line


class EmbedCLI(LightningCLI):
    """LightningCLI that builds only the command asked for, and gives every run its callbacks, loggers and folder."""

    command = "fit"
    trainer_type: type[L.Trainer] = L.Trainer
    started: L.Trainer | None = None
    """The trainer of the command that runs."""

    @classmethod
    def subcommands(cls) -> dict[str, set[str]]:
        """Only the command asked for: a parser costs a quarter of a second."""
        return {cls.command: (LightningCLI.subcommands() | {"cache": {"model", "datamodule"}})[cls.command]}

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parses, and looks at a checkpoint that is named, before Lightning reads it."""
        super().parse_arguments(parser, args)
        path = self.config.get(self.command, {}).get("ckpt_path")
        if path not in (None, "last", "best", "hpc", "registry"):
            self._require_usable(path)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Adds the settings of the callbacks that every run has."""
        # rows are checked when they are opened, and the report scores the untrained student: a trial validation would only take time
        parser.set_defaults({"trainer.log_every_n_steps": 10, "trainer.num_sanity_val_steps": 0})
        if self.command == "cache":
            add_options(parser)
        if self.command in ("fit", "cache", "doctor"):  # these read the configuration of fit
            add_checkpoints(parser)
            parser.add_lightning_class_args(
                AverageCheckpoints, "average"
            )  # before the report, which scores the average
            parser.add_lightning_class_args(Report, "report")
        if self.command == "predict":
            parser.add_lightning_class_args(PredictionWriter, "output")

    def before_instantiate_classes(self) -> None:
        """Settles the run's folder, and what hangs on it; does what needs no model."""
        config = self.config[self.command]
        if self.command == "cache":
            if verify_or_import(config):
                raise SystemExit(0)
            return
        check_strategy(config.trainer.strategy, config.trainer.precision)
        folder = run_folder(config.trainer.default_root_dir, self.command, config.get("ckpt_path"))
        config.trainer.default_root_dir = str(folder)
        if self.command == "fit":
            settle_checkpoints(config, folder)
        if config.get("ckpt_path") == "last":
            home = Path(config.checkpoint.dirpath) if self.command == "fit" else folder / "checkpoints"
            self._require_usable(str(home / "last.ckpt"))
            if self.command != "fit":
                config.ckpt_path = str(home / "last.ckpt")

    def _require_usable(self, path: str) -> None:
        """Raises `UserError` for a checkpoint that the command cannot read."""
        require_whole(Path(path))
        if self.command == "fit":
            require_training_state(Path(path))

    def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
        """A trainer with loggers in the run's folder, unless the configuration names its own."""
        settings = self.config_init[self.command].trainer
        folder = settings["default_root_dir"]
        self.trainer_defaults = {"callbacks": [Throughput(), SaveOnInterrupt()]}
        if settings["enable_progress_bar"] is not False:
            self.trainer_defaults["callbacks"].append(RichProgressBar(leave=False))
        if settings.get("logger") is None:
            kwargs["logger"] = (
                [CSVLogger(folder, name="csv"), TensorBoardLogger(folder, name="tensorboard")]
                if self.command == "fit"
                else False
            )
        trainer: L.Trainer = super().instantiate_trainer(**kwargs)
        if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
            trainer.strategy.checkpoint_io = CheckpointFiles()
        type(self).started = trainer
        watch(trainer)
        return trainer


def _quiet() -> None:
    """Silences what a user can do nothing about."""
    for pattern in (
        ".*does not have many workers.*",
        ".*`isinstance\\(treespec.*",
        ".*litlogger.*",
        ".*GPU available but not used.*",
        ".*Total length of `DataLoader` across ranks is zero.*",
        ".*your dataloader is not resumable.*",  # it is: its state is in the data module
        ".*It is recommended to use `self.log\\(.*sync_dist=True.*",  # scores of pairs are of all ranks already
        ".*torch.distributed is disabled, unavailable or uninitialized.*",  # one process reads a sharded checkpoint
    ):
        warnings.filterwarnings("ignore", pattern)
    warnings.filterwarnings(
        "ignore",
        ".*`lr_scheduler.step\\(\\)` before.*|.*Checkpoint directory.*|.*Found .* module\\(s\\) in eval mode.*",
    )
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.seed"):
        logging.getLogger(name).setLevel(logging.WARNING)


def run(arguments: list[str], cli: type[EmbedCLI] = EmbedCLI) -> None:
    """Runs `fit`, `cache`, `validate`, `test` or `predict`.

    Args:
        arguments: The command line, the command first.
        cli: Which command line.
    """
    _quiet()
    command, *rest = arguments
    if not any(word == "--config" or word.startswith("--config=") or word == "-c" for word in rest):
        named = any(word.split("=")[0] in ("--data", "--data.class_path") for word in rest)
        own = not named and any(
            re.match(r"--data\.(init_args\.)?(train|validation|test|predict)\b", word) for word in rest
        )
        # the default job with a user's data in place of its own
        rest = ["--config", str(PRESET), *(["--data", "EmbeddingDataModule"] if own else []), *rest]
    cli.command, cli.started = command, None
    sys.argv = [sys.argv[0], command, *rest]
    try:
        cli(
            EmbeddingModule,
            EmbeddingDataModule,
            trainer_class=CacheTrainer if command == "cache" else cli.trainer_type,
            subclass_mode_model=True,
            subclass_mode_data=True,
            parser_class=FitParser,
            auto_configure_optimizers=False,
            save_config_kwargs={"overwrite": True},
            load_from_checkpoint_support=False,
            seed_everything_default=0,
        )
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except Exception as error:
        message = error_line(error)
        message = message and message + _where(error)
        if is_one_of_several():
            leave_after(error, message, started_processes(cli.started))
        if message is None:
            raise
        fail(message)


def _where(error: BaseException | None) -> str:
    """The function of ours in which the machine refused something, for a message."""
    frames = [
        f for f in traceback.extract_tb(error.__traceback__ if error else None) if "lightning_embed" in f.filename
    ]
    return f" (in {frames[-1].name})" if frames and isinstance(error, OSError) else ""
