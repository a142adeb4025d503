"""The lowest versions that `make test-lowest` installs."""

import tomllib
from pathlib import Path

import pytest

from scripts.lowest_versions import lowest, lowest_versions

PROJECT = tomllib.loads((Path(__file__).resolve().parents[2] / "pyproject.toml").read_text("utf-8"))["project"]


@pytest.mark.parametrize(
    ("requirement", "pin"),
    [("a>=1.2,<2", "a==1.2"), ("a[x,b]>=4,<5", "a[b,x]==4"), ("a<2,>=1,!=1.5", "a==1"), ("a==3", "a==3")],
)
def test_a_range_is_pinned_to_where_it_starts(requirement: str, pin: str) -> None:
    assert lowest(requirement) == pin


@pytest.mark.parametrize("requirement", ["a", "a<2", "a>1"])
def test_a_range_without_a_lowest_version_is_refused(requirement: str) -> None:
    with pytest.raises(ValueError, match="expected one lowest version"):
        lowest(requirement)


def test_every_dependency_is_pinned_and_torch_can_be_another() -> None:
    pins = lowest_versions(PROJECT, ["dev"])
    assert len(pins) == len(PROJECT["dependencies"]) + len(PROJECT["optional-dependencies"]["dev"])
    (torch,) = [pin for pin in pins if pin.startswith("torch==")]
    (other,) = [pin for pin in lowest_versions(PROJECT, torch="99") if pin.startswith("torch==")]
    assert torch == lowest(PROJECT["dependencies"][0]) and other == "torch==99"
