"""Public names of a package that load their modules when they are first used, so that importing the package stays cheap."""

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any


def lazy(package: str, names: Mapping[str, Sequence[str]]) -> Callable[[str], Any]:
    """The `__getattr__` of a package, which imports a module when one of its names is asked for.

    A type checker runs no code: the package imports the same names under `if TYPE_CHECKING:` and sets `__getattr__` in the `else`,
    so that the checker knows every name's type and reports a misspelt one.

    Args:
        package: The package's `__name__`.
        names: Module within the package -> its public names.
    """
    home = {name: f"{package}.{module}" for module, listed in names.items() for name in listed}

    def load(name: str) -> Any:
        if name not in home:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(home[name]), name)

    return load
