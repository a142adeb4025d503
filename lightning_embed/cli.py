"""The command line of fit, cache, validate, test and predict: LightningCLI, one-line errors, and a folder for each run."""

import logging
import os
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any, NoReturn

import lightning.pytorch as L
from lightning.pytorch.callbacks import ModelCheckpoint, RichProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

import lightning_embed.losses
import lightning_embed.schedulers  # noqa: F401  (short names in YAML are found among imported classes)
from lightning_embed.caching import CacheTrainer
from lightning_embed.callbacks.interrupt import SaveOnInterrupt
from lightning_embed.callbacks.prediction_writer import PredictionWriter
from lightning_embed.callbacks.report import Report
from lightning_embed.callbacks.throughput import Throughput
from lightning_embed.datamodules import EmbeddingDataModule
from lightning_embed.errors import UserError
from lightning_embed.messages import one_line, user_error
from lightning_embed.module import EmbeddingModule
from lightning_embed.store_tools import add_options, run_tool
from lightning_embed.tools import fail

PRESET = Path(__file__).parent / "presets" / "quickstart.yaml"
RUN_FOLDER = "LIGHTNING_EMBED_RUN"
"""Environment variable by which rank 0 tells the processes that it starts which folder the run has."""


class Parser(LightningArgumentParser):
    """A parser that says what is wrong in one line."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Prints one line and exits with code 2."""
        fail(one_line(message, ex))


class EmbedCLI(LightningCLI):
    """LightningCLI that builds only the command asked for, and gives every run its callbacks, loggers and folder."""

    command = "fit"
    trainer_type: type[L.Trainer] = L.Trainer

    @classmethod
    def subcommands(cls) -> dict[str, set[str]]:
        """Only the command asked for: a parser costs a quarter of a second."""
        return {cls.command: (LightningCLI.subcommands() | {"cache": {"model", "datamodule"}})[cls.command]}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Adds the settings of the callbacks that every run has."""
        parser.set_defaults({"trainer.log_every_n_steps": 10})
        if self.command == "cache":
            add_options(parser)
        if self.command in ("fit", "cache", "doctor"):  # these read the configuration of fit
            parser.add_lightning_class_args(ModelCheckpoint, "checkpoint")
            parser.add_lightning_class_args(Report, "report")
            parser.set_defaults(
                {
                    "checkpoint.save_last": True,
                    "checkpoint.save_top_k": 1,
                    "checkpoint.monitor": "val/ndcg@10",
                    "checkpoint.mode": "max",
                }
            )
            parser.set_defaults({"checkpoint.filename": "best", "checkpoint.enable_version_counter": False})
            parser.set_defaults({"checkpoint.auto_insert_metric_name": False})
        if self.command == "predict":
            parser.add_lightning_class_args(PredictionWriter, "output")

    def before_instantiate_classes(self) -> None:
        """Settles the run's folder, and what hangs on it; does what needs no model."""
        config = self.config[self.command]
        if self.command == "cache":
            if run_tool(config):
                raise SystemExit(0)
            return
        folder = run_folder(config.trainer.default_root_dir, self.command, config.get("ckpt_path"))
        config.trainer.default_root_dir = str(folder)
        if self.command == "fit" and config.checkpoint.dirpath is None:
            config.checkpoint.dirpath = str(folder / "checkpoints")
        if self.command == "fit" and not config.data.init_args.get("validation", True):
            config.checkpoint.monitor = None  # nothing is validated: the best is the last
        if self.command != "fit" and config.get("ckpt_path") == "last":
            config.ckpt_path = str(folder / "checkpoints" / "last.ckpt")
        path = config.get("ckpt_path")
        if path == "last" and not (folder / "checkpoints" / "last.ckpt").is_file():
            raise UserError(
                f"--ckpt_path last: there is no {folder / 'checkpoints' / 'last.ckpt'}; give a checkpoint's path"
            )
        if path not in (None, "last", "best", "hpc", "registry") and not Path(path).exists():
            raise UserError(f"--ckpt_path {path}: there is no such checkpoint")

    def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
        """A trainer with loggers in the run's folder, unless the configuration names its own."""
        trainer = self._get(self.config_init, "trainer")
        folder = trainer["default_root_dir"]
        self.trainer_defaults = {"callbacks": [Throughput(), SaveOnInterrupt()]}
        if trainer["enable_progress_bar"] is not False:
            self.trainer_defaults["callbacks"].append(RichProgressBar(leave=False))
        if trainer.get("logger") is None:
            kwargs["logger"] = (
                [CSVLogger(folder, name="csv"), TensorBoardLogger(folder, name="tensorboard")]
                if self.command == "fit"
                else False
            )
        return super().instantiate_trainer(**kwargs)


def run_folder(given: str | None, command: str, ckpt_path: str | None) -> Path:
    """The folder of this run: a new one for a new fit, the latest one to go on in.

    Args:
        given: trainer.default_root_dir; None: runs/run.
        command: The command.
        ckpt_path: Its checkpoint, `last` included.

    Raises:
        UserError: If it cannot be written.
    """
    if RUN_FOLDER in os.environ:
        return Path(os.environ[RUN_FOLDER])
    base = Path(given or "runs/run")
    candidates = [base]
    while (candidates[-1] / "checkpoints").exists():
        candidates.append(base.with_name(f"{base.name}-{len(candidates) + 1}"))
    folder = candidates[-1] if command == "fit" and ckpt_path is None else candidates[max(0, len(candidates) - 2)]
    if ckpt_path is not None and Path(ckpt_path).is_file() and Path(ckpt_path).parent.name == "checkpoints":
        folder = Path(ckpt_path).parent.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe-{os.getpid()}"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise UserError(
            f"{folder}: the run's folder cannot be written ({error.strerror}); give another --trainer.default_root_dir"
        ) from None
    os.environ[RUN_FOLDER] = str(folder)
    return folder


def _quiet() -> None:
    """Silences what a user can do nothing about."""
    for pattern in (
        ".*does not have many workers.*",
        ".*`isinstance\\(treespec.*",
        ".*litlogger.*",
        ".*GPU available but not used.*",
        ".*Total length of `DataLoader` across ranks is zero.*",
        ".*your dataloader is not resumable.*",  # it is: its state is in the data module
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
        rest = ["--config", str(PRESET), *rest]
    cli.command = command
    sys.argv = [sys.argv[0], command, *rest]
    try:
        cli(
            EmbeddingModule,
            EmbeddingDataModule,
            trainer_class=CacheTrainer if command == "cache" else cli.trainer_type,
            subclass_mode_model=True,
            subclass_mode_data=True,
            parser_class=Parser,
            auto_configure_optimizers=False,
            save_config_kwargs={"overwrite": True},
            load_from_checkpoint_support=False,
            seed_everything_default=0,
        )
    except UserError as error:
        fail(str(error))
    except OSError as error:
        if error.errno is None or os.environ.get("LIGHTNING_EMBED_TRACEBACK"):
            raise
        fail(f"{error.strerror}: {error.filename or 'while writing the run'}" + _where(error))
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except Exception as error:  # jsonargparse wraps what a constructor raises
        mistake = user_error(error)
        if mistake is None:
            raise
        fail(str(mistake))


def _where(error: OSError) -> str:
    """What was being done, in the words of the innermost frame of ours."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "lightning_embed" in f.filename]
    return f" (in {frames[-1].name})" if frames else ""
