"""The models and weights that a checkpoint's settings name by relative paths, found from any folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

FOLDER = "folder"
"""Where a checkpoint's settings hold the folder that the run was started in."""
PATHS = ("model", "weights")
"""Arguments that are paths, or ids of a hub."""


def found_from_here(settings: Any, own: Mapping[str, Any]) -> Any:
    """A part of a checkpoint's settings, with whole paths in place of relative ones.

    Args:
        settings: Plain data.
        own: All that the checkpoint says of itself; one of an earlier version does not name its run's folder, and is left as it is.
    """
    home = Path(own.get(FOLDER) or ".")
    return settings if home.resolve() == Path.cwd() else _found(settings, home)


def _found(settings: Any, home: Path) -> Any:
    if isinstance(settings, list):
        return [_found(one, home) for one in settings]
    if not isinstance(settings, dict):
        return settings
    return {
        name: str(home / value)
        if name in PATHS and isinstance(value, str) and not value.startswith("~") and (home / value).exists()
        else _found(value, home)
        for name, value in settings.items()
    }
