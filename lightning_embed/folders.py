"""Where things are kept between runs."""

import os
from pathlib import Path

RUN_FOLDER = "LIGHTNING_EMBED_RUN"
"""Environment variable that says which folder a run has: by it rank 0 tells the processes that it starts, and `recipe` a stage."""


def user_cache() -> Path:
    """The folder `lightning_embed` in `$XDG_CACHE_HOME`, else in `~/.cache`; it need not exist."""
    return (Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "lightning_embed").expanduser()
