"""Where things are kept between runs."""

import os
from pathlib import Path


def user_cache() -> Path:
    """The folder `lightning_embed` in `$XDG_CACHE_HOME`, else in `~/.cache`; it need not exist."""
    return (Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "lightning_embed").expanduser()
