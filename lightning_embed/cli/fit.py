"""The command line of fit, validate, test and predict: LightningCLI, one-line errors, and a folder for each run."""

import logging
import re
import sys
import tempfile
import traceback
from argparse import SUPPRESS
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import yaml
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.plugins.io import TorchCheckpointIO

import lightning_embed.losses
import lightning_embed.schedulers  # noqa: F401  (short names in YAML are found among imported classes)
from lightning_embed.callbacks.average import AverageCheckpoints
from lightning_embed.callbacks.defaults import TRAINER, trainer_defaults
from lightning_embed.callbacks.prediction_writer import PredictionWriter
from lightning_embed.callbacks.progress import StepProgress
from lightning_embed.callbacks.report import Report
from lightning_embed.checkpoints.integrity import require_training_state, require_whole
from lightning_embed.cli.checkpoints import add_checkpoints, settle_checkpoints
from lightning_embed.cli.claim import release
from lightning_embed.cli.displays import loggers, own_displays
from lightning_embed.cli.fit_parser import FitParser, Refused
from lightning_embed.cli.help import HELP_ALL
from lightning_embed.cli.monitors import check_monitors
from lightning_embed.cli.of_checkpoint import COMMANDS, SECTIONS_OF_FIT, has_config, settings_of_checkpoint
from lightning_embed.cli.parser import error_line, fail
from lightning_embed.cli.precision import add_precision, choose_precision
from lightning_embed.cli.run_folder import SaveConfig, run_folder
from lightning_embed.cli.sections import why_refused
from lightning_embed.cli.source_settings import check_source_settings
from lightning_embed.cli.trainer import (
    check_trainer,
    keep_checkpoints_together,
    leave_report_out,
    missing_device,
)
from lightning_embed.cli.warnings_hidden import LOUD, ignore_warnings
from lightning_embed.cli.words import Piece, names_data, pieces
from lightning_embed.compat.jsonargparse import replacing_lists
from lightning_embed.compat.lightning import after_signals_are_registered, started_processes
from lightning_embed.datamodules import EmbeddingDataModule
from lightning_embed.distributed.failure import end_others, is_one_of_several, leave_after, watch
from lightning_embed.errors import UserError, user_error
from lightning_embed.module import EmbeddingModule
from lightning_embed.training.fsdp2 import check_strategy
from lightning_embed.utils.program import program
from lightning_embed.utils.quiet import quiet, same_process
from lightning_embed.utils.signals import Stopped, end_on_signals, raising_stopped

PRESET = Path(__file__).parents[1] / "presets" / "quickstart.yaml"


class EmbedCLI(LightningCLI):
    """LightningCLI that builds only the command asked for, and gives every run its callbacks, loggers and folder."""

    command = "fit"
    about = ""
    """What `--help` says that a command does that is no method of the trainer."""
    resumed: str | None = None
    """The checkpoint that a fit resumes from."""
    started: L.Trainer | None = None
    """The trainer of the command that runs."""

    @classmethod
    def subcommands(cls) -> dict[str, set[str]]:
        """Only the command asked for: a parser costs a quarter of a second."""
        return {cls.command: LightningCLI.subcommands()[cls.command]}

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parses, after a checkpoint's settings or else the default job, and checks a given checkpoint before Lightning reads it."""
        words = sys.argv[2:]
        base = settings_of_checkpoint(self.command, words) if self.command in COMMANDS else {}
        with tempfile.TemporaryDirectory() as scratch:
            first = Path(scratch) / "config.yaml" if base else PRESET
            if base:
                first.write_text(yaml.safe_dump(base), encoding="utf-8")
            named = ["--config", str(first)] if base or not has_config(words) else []
            if not base and _gives_data(words):  # the default job with a user's data in place of its own
                named += ["--data", "EmbeddingDataModule"]
            self.given = list(pieces([*named, *words]))
            if not names_data(self.given):
                self.given.insert(0, Piece("--data", words=("--data", "EmbeddingDataModule")))
            check_source_settings(self.given)
            typed = ["--help" if word == HELP_ALL else word for piece in self.given for word in piece.words]
            with replacing_lists(), self._explained():
                self.config = parser.parse_args([*self.subcommands(), *typed])
        path = self.config.get(self.command, self.config).get("ckpt_path")
        if path not in (None, "last", "best", "hpc", "registry"):
            self._require_usable(path)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Within it a complaint about what was given becomes one that says where, and what to write."""
        try:
            yield
        except Exception as error:
            final = error.final if isinstance(error, Refused) else user_error(error) is not None
            why = None if final else why_refused(self.given, self._names())
            if why is None:
                raise
            raise UserError(why) from None

    def _names(self) -> list[str]:
        """The command's top-level settings."""
        settings: dict[str, Any] = self.command_parser.get_defaults().as_dict()
        return list(settings)

    def instantiate_classes(self) -> None:
        """Builds what was asked for."""
        with self._explained():
            super().instantiate_classes()

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Adds the settings of the callbacks that every run has."""
        parser.set_defaults({f"trainer.{name}": value for name, value in TRAINER.items()})
        add_precision(parser, default=self.command in ("fit", "cache", "doctor"))
        if self.command in ("fit", "cache", "doctor"):  # these read the configuration of fit
            add_checkpoints(parser)
            parser.add_lightning_class_args(
                AverageCheckpoints, "average"
            )  # before the report, which scores the average
            parser.add_lightning_class_args(Report, "report")
        for name in SECTIONS_OF_FIT if self.command in COMMANDS else ():
            parser.add_argument(
                f"--{name}", type=dict | None, default=None, help=SUPPRESS
            )  # a run's config.yaml has it
        if self.command == "predict":
            parser.add_lightning_class_args(PredictionWriter, "output")
        self.command_parser = parser

    def before_instantiate_classes(self) -> None:
        """Chooses the run's folder and the settings that depend on it; does what needs no model."""
        config = self.config[self.command]
        check_strategy(config.trainer.strategy, config.trainer.precision)
        check_trainer(config.trainer)
        if missing := missing_device(config.trainer.accelerator):
            raise UserError(missing)
        if config.get("ckpt_path") == "best":
            raise UserError(
                "ckpt_path best: give the file, such as runs/run/checkpoints/best.ckpt; `last` is the newest step of the run"
            )
        folder = run_folder(config.trainer.default_root_dir, self.command, config.get("ckpt_path"))
        config.trainer.default_root_dir = str(folder)
        if self.command == "fit":
            settle_checkpoints(config, folder)
        self.resumed = config.get("ckpt_path") if self.command == "fit" else None
        if config.get("ckpt_path") == "last":
            home = Path(config.checkpoint.dirpath) if self.command == "fit" else folder / "checkpoints"
            newest = str(home / "last.ckpt")
            self._require_usable(newest)
            if self.command == "fit":
                self.resumed = newest
            else:
                config.ckpt_path = newest

    def _require_usable(self, path: str) -> None:
        """Raises `UserError` for a checkpoint that the command cannot read."""
        require_whole(Path(path))
        if self.command == "fit":
            require_training_state(Path(path))

    def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
        """A trainer with loggers in the run's folder, and those that the configuration names."""
        settings = self.config_init.get(self.command, self.config_init).trainer
        defaults = trainer_defaults(settings["default_root_dir"] or "runs/run")
        # those of the checkpoints have settings, and so are made from them
        callbacks = [one for one in defaults["callbacks"] if not isinstance(one, Checkpoint)]
        callbacks += own_displays(settings)
        self.trainer_defaults = {"callbacks": callbacks}
        kwargs["logger"] = settings.get("logger") or False
        if self.command == "fit":
            kwargs["logger"] = loggers(settings.get("logger"), defaults["logger"])
        config = self.config.get(self.command, self.config)
        precision = choose_precision(settings, self.command, self.resumed, self.model.student)
        config.trainer.precision = kwargs["precision"] = precision
        trainer: L.Trainer = super().instantiate_trainer(**kwargs)
        if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:  # a strategy or a plugin may bring its own
            (trainer.strategy.checkpoint_io,) = defaults["plugins"]
        if self.command == "fit":
            keep_checkpoints_together(trainer.callbacks, Path(settings["default_root_dir"]))  # type: ignore[attr-defined]
            check_monitors(trainer, self.model, self.datamodule)
            leave_report_out(trainer, self.datamodule)
        else:  # where LastCheckpoint takes the signals over
            after_signals_are_registered(trainer, end_on_signals)
        type(self).started = trainer
        watch(trainer)
        return trainer

    def before_fit(self) -> None:
        """Shows that the run is set up: the data are read, which may take minutes the first time."""
        if isinstance(bar := self.trainer.progress_bar_callback, StepProgress):
            bar.prepare("preparing the data")


class JobCLI(EmbedCLI):
    """A command that takes `fit`'s settings and does something else with them, in `after_instantiate_classes`.

    LightningCLI has subcommands for methods of the trainer alone, so here it only parses and builds: `run` is False.
    """

    @classmethod
    def subcommands(cls) -> dict[str, set[str]]:
        """None."""
        return {}

    def instantiate_classes(self) -> None:
        """Builds what was asked for, and raises `UserError` for data without sources."""
        super().instantiate_classes()
        if not isinstance(self.datamodule, EmbeddingDataModule):
            raise UserError(
                f"`{self.command}` reads the sources of an EmbeddingDataModule, got {type(self.datamodule).__name__}"
            )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Adds `fit`'s settings."""
        super().add_arguments_to_parser(parser)
        for name in ("ckpt_path", "weights_only"):
            parser.add_argument(f"--{name}", type=Any, default=None, help=SUPPRESS)  # not used, but known to `fit`


@same_process()  # rank 0 tells the processes that it starts the run's folder by an environment variable
@quiet(loggers=LOUD, level=logging.WARNING)
def run(arguments: list[str], cli: type[EmbedCLI] = EmbedCLI) -> None:
    """Runs `fit`, `validate`, `test` or `predict`, or the command of a `JobCLI`.

    Args:
        arguments: The command line, the command first.
        cli: Which command line.
    """
    ignore_warnings()
    command = arguments[0]
    cli.command, cli.started = command, None
    sys.argv = [sys.argv[0], *arguments]  # what Lightning starts other ranks with
    try:
        with raising_stopped():
            cli(
                EmbeddingModule,
                L.LightningDataModule,
                subclass_mode_model=True,
                subclass_mode_data=True,
                parser_class=FitParser,
                parser_kwargs={"prog": f"{program()} {command}", "description": cli.about}
                if cli.about
                else {"prog": program()},
                run=bool(cli.subcommands()),
                auto_configure_optimizers=False,
                save_config_callback=SaveConfig if command == "fit" else None,
                save_config_kwargs={"save_to_log_dir": False},
                load_from_checkpoint_support=False,
                seed_everything_default=0,
            )
    except Stopped:
        end_others(started_processes(cli.started))
        raise
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except SystemExit as stop:
        if isinstance(stop.__context__, KeyboardInterrupt):  # Lightning makes 1 of it
            raise SystemExit(130) from None
        raise
    except Exception as error:
        message = error_line(error)
        if message is not None:
            message = "; ".join([message + _where(error), *getattr(error, "__notes__", [])])
        if is_one_of_several():
            leave_after(error, message, started_processes(cli.started))
        if message is None:
            raise
        fail(message, error)
    finally:
        cli.started = None
        release()


def _gives_data(words: Sequence[str]) -> bool:
    """Whether a command line without a configuration gives sources, and no class of DataModule."""
    if has_config(words) or any(word.split("=")[0] in ("--data", "--data.class_path") for word in words):
        return False
    return any(re.match(r"--data\.(init_args\.)?(train|validation|test|predict)\b", word) for word in words)


def _where(error: BaseException | None) -> str:
    """The innermost function of this package in which the operating system raised an error, for a message."""
    frames = [
        f for f in traceback.extract_tb(error.__traceback__ if error else None) if "lightning_embed" in f.filename
    ]
    return f" (in {frames[-1].name})" if frames and isinstance(error, OSError) else ""
