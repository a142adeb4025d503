"""`--trainer.precision auto`, the default of `fit`: chosen once the student is there, and kept by a run that resumes."""

from pathlib import Path
from typing import Any

from lightning.pytorch.cli import LightningArgumentParser
from lightning.pytorch.plugins.precision import Precision

from lightning_embed.checkpoints.settings import precision_of
from lightning_embed.compat.jsonargparse import accept_word
from lightning_embed.training.precision import AUTO, auto_precision


def add_precision(parser: LightningArgumentParser, default: bool) -> None:
    """Lets trainer.precision be `auto`.

    Args:
        parser: The command's.
        default: Whether it is unless another is given.
    """
    accept_word(parser, "trainer.precision", AUTO)
    if default:
        parser.set_defaults({"trainer.precision": AUTO})


def choose_precision(settings: Any, command: str, checkpoint: str | None, encoder: Any) -> str | None:
    """What to give the Trainer for trainer.precision.

    Args:
        settings: `trainer`, with its parts made.
        command: `fit` and `doctor` choose; to the others, which train nothing, `auto` is float32.
        checkpoint: What the run resumes from: it keeps that one's.
        encoder: The student.
    """
    if settings["precision"] != AUTO:
        given: str | None = settings["precision"]
        return given
    plugins = settings["plugins"] if isinstance(settings["plugins"], list) else [settings["plugins"]]
    if command not in ("fit", "doctor") or any(isinstance(one, Precision) for one in plugins):
        return None
    if checkpoint is not None:
        return precision_of(Path(checkpoint))
    devices = settings["devices"] if settings["num_nodes"] == 1 else f"{settings['devices']} x {settings['num_nodes']}"
    return auto_precision(encoder, settings["accelerator"], devices)
