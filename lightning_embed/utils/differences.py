"""What differs between two configurations."""

from collections.abc import Iterator, Mapping
from typing import Any


def flat(settings: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Each value of a configuration with its dotted name.

    Args:
        settings: The configuration, or a part of it.
        path: Where it is in the configuration.
    """
    if isinstance(settings, Mapping) and settings:
        for key, value in settings.items():
            yield from flat(value, f"{path}.{key}" if path else str(key))
    else:
        yield path, settings


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The settings that differ: `trainer.max_steps 100 -> 200`.

    Args:
        then: A configuration.
        now: Another.
    """
    old, new = dict(flat(then)), dict(flat(now))
    names = [name for name in dict.fromkeys([*old, *new]) if old.get(name) != new.get(name)]
    return [f"{name} {old.get(name, 'unset')} -> {new.get(name, 'unset')}" for name in names]
