"""Makes the loggers of a configuration as `fit` would, to find what cannot be made, and leaves nothing behind."""

from contextlib import chdir
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lightning.pytorch.cli import instantiate_class

from lightning_embed.errors import UserError, in_one_line, user_error

FOLDERS = ("save_dir", "dir", "root_dir")
"""Settings of loggers that name a folder, which some make at once."""
BEGIN_A_RUN = {"CometLogger": "comet_ml", "LitLogger": "litlogger"}
"""Loggers that begin a run on a server as they are made -> the package that they need. With it they are left to `fit`."""


def check_loggers(given: Any) -> None:
    """Raises `UserError` for a logger of Lightning's that cannot be made; one of the user's may begin a run, and is not tried.

    Args:
        given: trainer.logger, parsed: true, false, null, a logger's settings or several.
    """
    for one in given if isinstance(given, list) else [given]:
        settings = one.as_dict() if hasattr(one, "as_dict") else one
        if not isinstance(settings, dict) or not settings["class_path"].startswith("lightning."):
            continue
        name = settings["class_path"].rpartition(".")[2]
        if name in BEGIN_A_RUN and find_spec(BEGIN_A_RUN[name]):
            continue
        arguments = {**(settings.get("init_args") or {}), **(settings.get("dict_kwargs") or {})}
        with TemporaryDirectory() as scratch, chdir(scratch):
            arguments |= {key: str(Path(scratch) / "logs") for key in FOLDERS if arguments.get(key)}
            try:
                instantiate_class((), {"class_path": settings["class_path"], "init_args": arguments})
            except Exception as error:  # of the logger's library, of whatever kind
                raise user_error(error) or UserError(
                    f"trainer.logger: {name} cannot be made: {in_one_line(error, 300)}"
                ) from None
