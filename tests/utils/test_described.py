"""An object knows the arguments of its constructor, a subclass' included, and names those that are not data."""

import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lightning_embed.utils.described import Construction, Described, construction, parameters


class Base(Described):
    def __init__(self, model: str, size: int = 3, names: list[str] | None = None) -> None:
        self.model, self.size, self.names = model, size, names


class Wider(Base):
    def __init__(self, scale: float, *rest: Any, shift: float = 0.5, **more: Any) -> None:
        super().__init__(*rest, **more)
        self.scale = 2 * scale


class Holder(Described):
    def __init__(self, inner: Any = None, after: Callable[[], int] = lambda: 1) -> None:
        self.inner = inner


def arguments(made: Described) -> dict[str, Any]:
    return construction(made).settings["init_args"]


def test_arguments_given_by_place_by_name_and_left_out_are_recorded() -> None:
    assert construction(Base("m", names=["a"])) == Construction(
        {"class_path": f"{__name__}.Base", "init_args": {"model": "m", "size": 3, "names": ["a"]}}
    )


def test_a_subclass_need_not_help_and_its_own_arguments_are_those_that_were_given() -> None:
    assert arguments(Wider(4.0, "m", 5, names=None)) == {
        "scale": 4.0,
        "shift": 0.5,
        "model": "m",
        "size": 5,
        "names": None,
    }
    assert list(parameters(Wider)) == ["scale", "shift", "model", "size", "names"]


def test_what_is_done_to_an_argument_later_does_not_count() -> None:
    names = ["a"]
    made = Base("m", names=names)
    names.append("b")
    made.size = 9
    assert arguments(made) == arguments(copy.deepcopy(made)) == {"model": "m", "size": 3, "names": ["a"]}


def test_paths_tuples_and_numbers_of_numpy_become_plain_data() -> None:
    given = {"at": Path("a/b"), 3: (np.float32(0.5), np.int64(2), True, None)}
    found = arguments(Holder(given))["inner"]
    assert found == {"at": "a/b", 3: [0.5, 2, True, None]}
    assert [type(one) for one in found[3]] == [float, int, bool, type(None)]


def test_optimizers_are_recorded_as_their_class_and_arguments() -> None:
    adam = {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.1}}
    assert arguments(Holder(partial(torch.optim.AdamW, lr=0.1)))["inner"] == adam
    assert arguments(Holder(torch.optim.AdamW))["inner"] == adam | {"init_args": {}}


@pytest.mark.parametrize(
    ("given", "name", "what"),
    [
        (torch.zeros(2), "inner", "an object of class Tensor"),
        (lambda: None, "inner", "a function"),
        ({"a": [1, {2}]}, "inner.a.1", "an object of class set"),
        (Holder(Holder(len)), "inner.inner.inner", "a function"),
        ({"class_path": "os.system"}, "inner", "an object of class dict"),
    ],
    ids=["tensor", "function", "within lists and dicts", "within others", "what would read as a class"],
)
def test_what_is_not_data_is_named(given: Any, name: str, what: str) -> None:
    assert construction(Holder(given)).missing == {name: what}


def test_a_class_within_a_function_is_named() -> None:
    class Local(Base):
        pass

    assert construction(Local("m")).missing[""].endswith("Local, which cannot be imported")
    assert "Local" in construction(Holder(Local("m"))).missing["inner"]


def test_wrong_arguments_are_refused_by_the_constructor() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'sise'"):
        Base("m", sise=3)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="positional arguments"):
        Base("m", 1, None, 4)  # type: ignore[call-arg]
