"""Where things are kept between runs."""

import os
from pathlib import Path

from platformdirs import user_cache_path

from lightning_embed.errors import UserError


def user_cache() -> Path:
    """The system's folder for caches, on Linux `lightning_embed` in `$XDG_CACHE_HOME`, else in `~/.cache`; it need not exist."""
    return user_cache_path("lightning_embed", appauthor=False)


def writable(folder: Path, instead: str) -> Path:
    """The folder, made if it is missing.

    Args:
        folder: Which.
        instead: What to do where it cannot be written to, for the message.

    Raises:
        UserError: It cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe-{os.getpid()}"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise UserError(f"{folder}: cannot be written to ({error.strerror}); {instead}") from None
    return folder
