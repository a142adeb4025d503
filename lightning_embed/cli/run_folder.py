"""The folder of a run, the same for all of its processes."""

import os
from collections.abc import Callable
from itertools import count
from pathlib import Path

import lightning.pytorch as L
from lightning.pytorch.cli import SaveConfigCallback

from lightning_embed.cli.claim import claim, release
from lightning_embed.distributed.failure import RUN_FOLDER, forget
from lightning_embed.errors import UserError
from lightning_embed.utils.folders import writable

ELSEWHERE = "give the run another folder with --trainer.default_root_dir"


def run_folder(given: str | None, command: str, ckpt_path: str | None) -> Path:
    """The folder of this run: a new one for a new fit, the latest one to resume.

    Args:
        given: trainer.default_root_dir; None: runs/run.
        command: `fit`, or another that takes its configuration.
        ckpt_path: Its checkpoint, `last` included.

    Raises:
        UserError: If it cannot be written.
    """
    if RUN_FOLDER not in os.environ:
        os.environ[RUN_FOLDER] = agreed(lambda: str(_choose(Path(given or "runs/run"), command, ckpt_path)))
    return Path(os.environ[RUN_FOLDER])


def _choose(base: Path, command: str, ckpt_path: str | None) -> Path:
    if command == "fit" and ckpt_path is None:
        return next(folder for number in count(1) if _is_new(folder := _numbered(base, number)))
    folder = _latest(base)
    if ckpt_path is not None and Path(ckpt_path).exists() and Path(ckpt_path).resolve().parent.name == "checkpoints":
        folder = Path(ckpt_path).parent.parent
        if folder.name.startswith("version_"):  # a logger's, where Lightning writes a ModelCheckpoint without dirpath
            folder = folder.parent.parent
    writable(folder, ELSEWHERE)
    if command == "fit" and (holder := claim(folder)):
        raise UserError(
            f"{folder}: a run is training in this folder ({holder}), and two would overwrite each other's checkpoints: wait for it, stop "
            "it, or start a new run"
        )
    forget(folder)
    return folder


def _numbered(base: Path, number: int) -> Path:
    return base if number == 1 else base.with_name(f"{base.name}-{number}")


def _latest(base: Path) -> Path:
    """The last folder in a row that has checkpoints; the first where none has."""
    number = 1
    while (_numbered(base, number + 1) / "checkpoints").exists():
        number += 1
    return _numbered(base, number)


def _is_new(folder: Path) -> bool:
    """Whether a folder has no run in it, neither one that trained nor one that is about to; it is claimed then."""
    if (folder / "checkpoints").exists():
        return False
    writable(folder, ELSEWHERE)
    if claim(folder):
        return False
    if (folder / "checkpoints").exists():  # by a run that has ended meanwhile
        release(folder)
        return False
    forget(folder)
    return True


def agreed(choose: Callable[[], str]) -> str:
    """What rank 0 chooses; under torchrun, which starts all ranks at once, the others ask its store for it.

    Args:
        choose: Called by rank 0 alone.
    """
    from lightning_embed.compat.torch import store_of_agents

    store = store_of_agents("lightning_embed")
    if store is None:
        return choose()
    if os.environ["RANK"] == "0":
        chosen = choose()
        store.set("chosen", chosen)
        return chosen
    return str(store.get("chosen").decode())


class SaveConfig(SaveConfigCallback):
    """Writes config.yaml into the run's folder, whatever loggers the run has."""

    def save_config(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Writes the file; Lightning calls this on the first rank alone.

        Args:
            trainer: Its default_root_dir is the run's folder.
            pl_module: Not used.
            stage: Not used.
        """
        folder, config = Path(trainer.default_root_dir), self.config.clone()
        if config.checkpoint.dirpath == str(folder / "checkpoints"):
            config.checkpoint.dirpath = None  # another fit with this configuration gets a folder of its own
        self.parser.save(config, str(folder / "config.yaml"), skip_unset=False, overwrite=True, multifile=False)
