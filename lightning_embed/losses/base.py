"""What every loss shares: the callback's shape, its weight, and float32 maths.

A loss is an `nn.Module` with `forward(batch: EmbeddingBatch) -> scalar`. To write one, subclass `EmbeddingLoss` in a file of yours,
say in `requires` what the batch must carry, and name the class by its dotted path in YAML:

    losses:
      mine: {loss: my_package.MyLoss, weight: 0.5}

On several ranks, mean over ranks of what `forward` returns must be the loss of the global batch (`lightning_embed.distributed`);
`lightning_embed.testing.assert_world_size_invariant` proves it for a class of yours.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn

from lightning_embed.batch import ROLES, EmbeddingBatch
from lightning_embed.errors import UserError
from lightning_embed.heads import normalize
from lightning_embed.losses.requirements import Given, refuse, takes_teacher
from lightning_embed.utils.described import Described
from lightning_embed.utils.numbers import check_number
from lightning_embed.utils.teacher_names import ONE

F = TypeVar("F", bound=Callable[..., Any])


def in_float32(function: F) -> F:
    """Runs a function of tensors in float32 (float64 stays), regardless of autocast and the inputs' dtype."""

    def widen(value: Any) -> Any:
        if isinstance(value, Tensor) and value.is_floating_point():
            return value.to(torch.promote_types(value.dtype, torch.float32))
        return value

    @wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        device = next((a.device.type for a in (*args, *kwargs.values()) if isinstance(a, Tensor)), "cpu")
        with torch.autocast(device, enabled=False):
            return function(*[widen(a) for a in args], **{k: widen(v) for k, v in kwargs.items()})

    return wrapped  # type: ignore[return-value]


unit = in_float32(normalize)
"""`normalize` in float32."""


def role_names(columns: Sequence[str]) -> tuple[str, ...]:
    """A loss's `columns` argument as a tuple, checked.

    Raises:
        UserError: If one of them is not a role, or none is given.
    """
    if isinstance(columns, str) or not columns or not set(columns) <= set(ROLES):
        raise UserError(f"columns must be a list of some of {', '.join(ROLES)}, got {columns!r}")
    return tuple(columns)


def required_roles(columns: Sequence[str]) -> frozenset[str]:
    """What a loss over these columns requires: the anchor, or else the positive, or else the negatives; the others where they are there."""
    return frozenset([next(role for role in ROLES if role in columns)])


def check_positive(**values: float) -> None:
    """Raises `UserError` if one of the named settings is not a finite number > 0."""
    for name, value in values.items():
        check_number(name, value, above=0)


class EmbeddingLoss(Described, nn.Module, ABC):
    """One term of the objective, called back each step with the batch's vectors."""

    requires: frozenset[str] = frozenset({"anchor", "positive"})
    """What a batch must carry: roles (`anchor`, `positive`, `negative`) and `teacher`, `reference`, `score`, `label`. Where `teacher`
    or `reference` is among them, such vectors are there for each role of `requires` and `uses`; where `score` is, a score for each
    required document."""
    uses: frozenset[str] = frozenset()
    """Roles that are taken if the batch has them."""
    taught_by: frozenset[str] | None = None
    """Roles whose teacher vectors it takes, where `teacher` is required; None: those of `requires` and `uses`."""
    pulls_pairs: bool = False
    """Whether it brings every anchor and its positive together, so that rows must be pairs that belong together."""
    must_differ: frozenset[str] = frozenset()
    """What must differ among the rows of a batch, or the loss learns nothing from them: `row` (there must be several), `anchor`,
    `positive`, `score`."""

    @abstractmethod
    def forward(self, batch: EmbeddingBatch) -> Tensor:
        """Returns the scalar loss of this rank's part of the batch; its mean over ranks is the global batch's loss."""

    # Any, because losses do not know the module: an override may declare an `EmbeddingModule`
    def on_fit_start(self, module: Any) -> None:
        """Called once before training.

        Args:
            module: The EmbeddingModule.
        """

    def on_step_end(self, module: Any, step: int) -> None:
        """Called after each optimizer step, e.g. to clamp a parameter.

        Args:
            module: The EmbeddingModule.
            step: Optimizer steps done.
        """

    def check(self, name: str, batch: EmbeddingBatch) -> None:
        """Raises `UserError` if the batch lacks something that the loss requires.

        Args:
            name: The loss's name in the configuration.
            batch: The batch that it is about to be called with.
        """
        there = {what: getattr(batch, what, None) for what in self.requires - set(ROLES)}
        roles = frozenset(batch.student)
        columns = {
            what: frozenset(value) if isinstance(value, dict) else frozenset() if value is None else roles
            for what, value in there.items()
        }
        refuse(name, self, Given(batch.source, roles, columns))


def weight_at(weight: float | Mapping[int, float], step: int) -> float:
    """λ at an optimizer step.

    Args:
        weight: A number, or a schedule {step: λ}.
        step: Optimizer steps done.
    """
    if not isinstance(weight, Mapping):
        return weight
    reached = [at for at in weight if at <= step]
    return weight[max(reached)] if reached else 0.0


def check_weight(name: str, weight: Any) -> None:
    """Raises `UserError` unless λ is a number ≥ 0, or a schedule of such numbers by steps ≥ 0.

    Args:
        name: What the setting is called.
        weight: What was given.
    """
    if not isinstance(weight, Mapping):
        check_number(name, weight, least=0)
        return
    if not weight:
        raise UserError(f"{name}: a schedule needs at least one step, e.g. {{0: 1.0}}")
    for step, value in weight.items():
        check_number(f"{name}: the step", step, least=0, whole=True)
        check_number(f"{name} from step {step} on", value, least=0)


CONDITIONS = ("score", "label", "negative", "positive", "document")
"""What a term may be for batches with, or without."""


@dataclass
class LossTerm(Described):
    """A loss and its weight λ in the objective Σ λ · loss."""

    loss: EmbeddingLoss
    """The loss callback: a class of `lightning_embed.losses`, or the dotted path of one of yours."""
    weight: float | dict[int, float] = 1.0
    """λ ≥ 0, or a schedule {step: λ}: from that optimizer step on; before the first step it is 0. A loss of weight 0 is not run."""
    when: str | None = None
    """Which batches it is for: `score`, those that have scores, or `no score`, those that have none; so too with `label`, `negative`,
    `positive` and `document`, and several joined by `and`, such as `positive and no score`. None: all; one that lacks what the loss
    requires is then an error."""
    teacher: str | None = None
    """The name of its teacher, where the module has several. None: the lone one, or the loss takes none."""

    def __post_init__(self) -> None:
        check_weight(f"loss {type(self.loss).__name__}: weight", self.weight)
        if any(condition.removeprefix("no ") not in CONDITIONS for condition in self._conditions):
            raise UserError(
                f"when: expected one of {', '.join(CONDITIONS)}, `no` before it, or several joined by `and`, got {self.when!r}"
            )

    @property
    def _conditions(self) -> list[str]:
        return [] if self.when is None else [condition.strip() for condition in self.when.split(" and ")]

    def takes(self, there: Set[str], teachers: Collection[str] | None = None) -> bool:
        """Whether it is for a batch.

        Args:
            there: What the batch has: roles, `score`, `label`, `document`.
            teachers: Names of the teachers whose losses are for the batch; None: all.
        """
        if teachers is not None and takes_teacher(self.loss) and (self.teacher or ONE) not in teachers:
            return False
        return all((one.removeprefix("no ") in there) != one.startswith("no ") for one in self._conditions)

    def weight_at(self, step: int) -> float:
        """λ at an optimizer step.

        Args:
            step: Optimizer steps done.
        """
        return weight_at(self.weight, step)

    def runs_before(self, steps: int | None) -> bool:
        """Whether λ is ever other than 0.

        Args:
            steps: Optimizer steps in all; None: no end.
        """
        if not isinstance(self.weight, Mapping):
            return self.weight != 0
        return any(value != 0 and (steps is None or at < steps) for at, value in self.weight.items())


if TYPE_CHECKING:
    Losses = Mapping[str, LossTerm | EmbeddingLoss]
else:  # what a configuration holds
    Losses = dict[str, LossTerm]
"""Name -> loss and weight; in Python a loss alone will do."""


def as_terms(losses: Losses) -> dict[str, LossTerm]:
    """Losses with their weights; a bare loss, which only Python can give, has weight 1.

    Args:
        losses: Name -> loss and weight, or loss.

    Raises:
        UserError: Something is neither.
    """
    for name, given in losses.items():
        if not isinstance(given, LossTerm | EmbeddingLoss):
            raise UserError(
                f"losses: {name}: expected a loss, e.g. InfoNCE(), or LossTerm(InfoNCE(), weight=0.5), got {given!r:.80}"
            )
    return {name: given if isinstance(given, LossTerm) else LossTerm(given) for name, given in losses.items()}
