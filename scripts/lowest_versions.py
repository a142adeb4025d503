"""Prints pins of the lowest version of each dependency that pyproject.toml allows, one a line, for `pip install --requirement`.

python scripts/lowest_versions.py [--torch 2.13.0] [--extra dev]...
"""

import argparse
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"


def lowest(requirement: str) -> str:
    """A requirement pinned to the lowest version of its range, its extras kept.

    Args:
        requirement: As in pyproject.toml, with one `>=` or `==`.

    Raises:
        ValueError: The range has no lower end.
    """
    parsed = Requirement(requirement)
    ends = [part.version for part in parsed.specifier if part.operator in (">=", "==")]
    if len(ends) != 1:
        raise ValueError(f"{requirement}: expected a range with one lower end, such as '{parsed.name}>=1,<2'")
    extras = f"[{','.join(sorted(parsed.extras))}]" if parsed.extras else ""
    return f"{parsed.name}{extras}=={ends[0]}"


def lowest_versions(project: dict, extras: list[str], torch: str | None) -> list[str]:
    """The pins of a project's dependencies.

    Args:
        project: The table `project` of pyproject.toml.
        extras: Names of optional dependencies to pin as well.
        torch: Another version of torch than its lowest.
    """
    requirements = list(project["dependencies"])
    for extra in extras:
        requirements += project["optional-dependencies"][extra]
    pins = [lowest(requirement) for requirement in requirements]
    return [f"torch=={torch}" if torch and pin.startswith("torch==") else pin for pin in pins]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch", help="pin torch to this version instead of its lowest")
    parser.add_argument("--extra", action="append", default=[], help="an optional dependency to pin as well")
    given = parser.parse_args()
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    print("\n".join(lowest_versions(project, given.extra, given.torch)))
