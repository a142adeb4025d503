"""Every number that a public class is constructed with is checked: none outside its range, NaN, infinity, true or null gets through."""

import inspect
import typing
from collections.abc import Callable, Iterator
from importlib import import_module
from math import inf, nan
from pathlib import Path
from typing import Any

import pytest
import torch

import lightning_embed
from lightning_embed import InfoNCE, UserError

ROOMS = sorted(file.parent.name for file in Path(lightning_embed.__file__).parent.glob("*/__init__.py"))
DATA = {"BackboneSettings", "Diagnosis", "EmbeddingBatch", "TextBatch", "TextTokenizer", "TokenBatch", "Tokens"}
"""What the package itself makes, of numbers that are checked before."""
UNCHECKED = {"Report.require"}
"""Gates, which tests/evaluation/test_gates.py has."""
ANY_SIGN = {
    "Matryoshka.seed",
    "EmbeddingDataModule.seed",
    "PythonDocs.seed",
    "Rules.seed",
    "Rules.max_score",
    "Rules.min_score",
}
ANY_SIGN |= {"InfoNCE.teacher_max", "InfoNCE.teacher_margin", "WarmupSchedule.last_epoch"}
INFINITE = {"EmbeddingDataModule.mixture_temperature"}
"""Infinity has a meaning there."""
NEEDED: dict[str, dict[str, Callable[[], Any]]] = {
    "LossSchedule": {"stages": lambda: {0: {"nce": 1.0}}},
    "LossTerm": {"loss": InfoNCE},
    "Matryoshka": {"loss": InfoNCE, "dims": lambda: [8, 16]},
    "Quantized": {"loss": InfoNCE},
    "Source": {"path": lambda: "rows.jsonl"},
    "StoredTeacher": {"name": lambda: "api", "dim": lambda: 8},
    "TaskGrid": {"tasks": lambda: ["STSBenchmark"]},
    "WarmupSchedule": {"optimizer": lambda: torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)},
} | {name: {"model": lambda: "no/such/folder"} for name in ("TextEncoder", "StaticEncoder", "FrozenEncoder")}


def numbers() -> Iterator[tuple[type, str, Any]]:
    """Class, name and type of each argument that is, or holds, a number."""
    for module in [lightning_embed, *(import_module(f"lightning_embed.{room}") for room in ROOMS)]:
        for cls in [getattr(module, name) for name in getattr(module, "__all__", [])]:
            if not inspect.isclass(cls) or cls.__name__ in DATA or issubclass(cls, Exception):
                continue
            if module is not lightning_embed and hasattr(lightning_embed, cls.__name__):
                continue
            hints = typing.get_type_hints(cls.__init__)
            for name in list(inspect.signature(cls).parameters):
                kind = hints.get(name)
                if {int, float} & {kind, *leaves(kind)} and f"{cls.__name__}.{name}" not in UNCHECKED:
                    yield cls, name, kind


def leaves(kind: Any) -> set[Any]:
    """All types within a type, but those that a function takes or gives."""
    if typing.get_origin(kind) in (typing.Literal, Callable):
        return set()
    inner = typing.get_args(kind)
    return {*inner}.union(*(leaves(one) for one in inner))


def wrong(cls: type, name: str, kind: Any) -> Iterator[tuple[Any, str]]:
    """Values that an argument cannot have, each with what the message must show of it."""
    where, types = f"{cls.__name__}.{name}", {kind, *leaves(kind)}
    plain = [nan, True, "3", *([] if where in ANY_SIGN else [-3]), *([] if where in INFINITE else [inf])]
    plain += [1.5] if float not in types else []
    if type(None) not in types:
        yield None, "None" if "dict[str" not in str(kind) else "at least one"
    if "dict[str" in str(kind):  # weights by loss and step
        yield from (({0: {"nce": value}}, f"got {value!r}") for value in plain)
        yield from (({step: {"nce": 1.0}}, f"got {step!r}") for step in (-1, True, "x"))
        yield {}, "at least one"
        return
    if "dict[" in str(kind):  # a number, or one for each step
        yield from (({0: value}, f"got {value!r}") for value in plain)
        yield from (({step: 1.0}, f"got {step!r}") for step in (-1, True, "x"))
        yield {}, "at least one"
    if "list[" in str(kind) or "Sequence[" in str(kind):
        yield from (([value], f"got {value!r}") for value in plain)
        yield [], "got []"
        return
    yield from ((value, f"got {value!r}") for value in plain)


CASES = [pytest.param(*case, id=f"{case[0].__name__}.{case[1]}") for case in numbers()]


def test_the_walk_finds_the_numbers() -> None:
    found = {case.id for case in CASES}
    assert {
        "LossTerm.weight",
        "Source.weight",
        "Adapter.rank",
        "TextEncoder.layers",
        "WarmupSchedule.final",
        "Rules.seed",
    } <= found
    assert len(found) > 60


@pytest.mark.parametrize(("cls", "name", "kind"), CASES)
def test_a_number_out_of_its_range_is_refused_in_a_line_that_names_it(cls: type, name: str, kind: Any) -> None:
    for value, shown in wrong(cls, name, kind):
        arguments = {key: make() for key, make in NEEDED.get(cls.__name__, {}).items()} | {name: value}
        with pytest.raises(UserError) as error:
            cls(**arguments)
            pytest.fail(f"{name}={value!r} was accepted")
        said = str(error.value)
        assert name in said and shown in said and "\n" not in said, f"{value!r}: {said}"
