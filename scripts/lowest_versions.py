"""Prints the lowest version of each dependency that pyproject.toml allows, one pin a line, for `pip install --requirement`.

python scripts/lowest_versions.py [EXTRA ...] [--torch VERSION]
"""

import argparse
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"


def lowest(requirement: str) -> str:
    """A requirement pinned to the lowest version of its range, with its extras.

    Args:
        requirement: As in pyproject.toml, such as `jsonargparse[signatures]>=4.49,<5`.

    Raises:
        ValueError: The range does not start with a version (`>=` or `==`), or starts with several.
    """
    parsed = Requirement(requirement)
    starts = [part.version for part in parsed.specifier if part.operator in (">=", "==")]
    if len(starts) != 1:
        raise ValueError(f"{requirement}: expected one lowest version, such as '{parsed.name}>=1,<2'")
    extras = f"[{','.join(sorted(parsed.extras))}]" if parsed.extras else ""
    return f"{parsed.name}{extras}=={starts[0]}"


def lowest_versions(project: dict[str, Any], extras: Sequence[str] = (), torch: str | None = None) -> list[str]:
    """The pins of a project's dependencies.

    Args:
        project: The table `project` of pyproject.toml.
        extras: Which optional dependencies to add.
        torch: Another version of torch to pin than the lowest.
    """
    optional = [line for extra in extras for line in project["optional-dependencies"][extra]]
    pins = [lowest(line) for line in [*project["dependencies"], *optional]]
    return [f"torch=={torch}" if torch and pin.startswith("torch==") else pin for pin in pins]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("extras", nargs="*", metavar="EXTRA", help="optional dependencies to add")
    parser.add_argument("--torch", metavar="VERSION", help="pin torch to this version; default: its lowest")
    given = parser.parse_args()
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    print("\n".join(lowest_versions(project, given.extras, given.torch)))
