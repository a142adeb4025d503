"""One teacher, or several by name: which losses are whose, and what each gives a batch."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from torch import nn

from lightning_embed.encoders.teacher import FrozenEncoder, StoredTeacher
from lightning_embed.encoders.text_encoder import TextEncoder
from lightning_embed.errors import UserError
from lightning_embed.heads import Projection
from lightning_embed.losses import EmbeddingLoss, LossTerm
from lightning_embed.losses.requirements import takes_teacher, teacher_roles
from lightning_embed.utils.described import parameters
from lightning_embed.utils.teacher_names import ONE, by_name

Encoder = FrozenEncoder | StoredTeacher | TextEncoder
Teachers = Encoder | Mapping[str, Encoder] | None
Projections = Projection | Mapping[str, Projection] | None


class Teaching(NamedTuple):
    """A teacher, and what is asked of it."""

    encoder: Encoder | None
    """None: there are stored vectors alone."""
    projection: Projection | None
    """Its ψ."""
    roles: frozenset[str]
    """Roles whose vectors its losses take."""


def check_names(teacher: Teachers, projection: Projections, losses: Mapping[str, LossTerm]) -> None:
    """Raises `UserError` unless several teachers have usable names, and projections and losses name them rightly.

    Args:
        teacher: One, or several by name.
        projection: Of that one, or of some of these.
        losses: Name -> loss and weight.
    """
    if not isinstance(teacher, Mapping):
        if isinstance(projection, Mapping):
            raise UserError(
                f"projection: expected a single one for a single teacher, got a mapping of {_listed(projection)}; "
                "give model.teacher as a mapping of the same names"
            )
        for name, term in losses.items():
            if term.teacher is not None:
                raise UserError(
                    f"loss '{name}' names teacher {term.teacher}, and model.teacher is no mapping of names: leave it out"
                )
        return
    if not teacher:
        raise UserError("teacher: expected at least one teacher in the mapping, got none; leave it out, or name one")
    for name in teacher:
        _check_name(name)
    named = _listed(teacher)
    if projection is not None and not isinstance(projection, Mapping):
        first = next(iter(teacher))
        raise UserError(
            f"projection: expected a mapping, as there are several teachers ({named}), got one; write {{{first}: {{...}}}}"
        )
    for name in projection or {}:
        if name not in teacher:
            raise UserError(f"projection: there is no teacher '{name}'; the teachers are {named}")
    for name, term in losses.items():
        _check_term(name, term, teacher)


def _check_name(name: str) -> None:
    settings = {
        *parameters(FrozenEncoder),
        *parameters(StoredTeacher),
        *parameters(Projection),
        "class_path",
        "init_args",
    }
    if name in settings:
        raise UserError(
            f"teacher: '{name}' cannot be a teacher's name: it is a setting of encoders or projections; choose another"
        )
    if not str(name).isidentifier() or hasattr(nn.ModuleDict, name):
        raise UserError(
            f"teacher: '{name}' cannot be a teacher's name: expected letters, digits and _, such as english"
        )


def _check_term(name: str, term: LossTerm, teacher: Collection[str]) -> None:
    who = f"loss '{name}' ({type(term.loss).__name__})"
    if term.teacher is None and takes_teacher(term.loss):
        raise UserError(
            f"{who} takes a teacher's vectors, and there are several teachers ({_listed(teacher)}): give it teacher: {next(iter(teacher))}"
            " or another"
        )
    if term.teacher is not None and term.teacher not in teacher:
        raise UserError(f"{who}: there is no teacher '{term.teacher}'; the teachers are {_listed(teacher)}")
    if term.teacher is not None and not takes_teacher(term.loss):
        raise UserError(f"{who} takes no teacher's vectors: leave its teacher: {term.teacher} out")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)


def frozen(teacher: Teachers) -> dict[str, Encoder]:
    """Name -> teacher, which from now on does not train.

    Args:
        teacher: One, or several by name.
    """
    teachers: dict[str, Encoder] = by_name(teacher)
    return {name: one.eval().requires_grad_(False) for name, one in teachers.items()}


def registered(projection: Projections) -> Projection | nn.ModuleDict | None:
    """What a module registers as `projection`: of several, each under its name.

    Args:
        projection: One, or several by name.
    """
    return nn.ModuleDict(projection) if isinstance(projection, Mapping) else projection


def named(projection: Projection | nn.ModuleDict | None) -> dict[str, Projection]:
    """Name of each teacher that has a projection -> that one.

    Args:
        projection: As `registered` gives it.
    """
    if isinstance(projection, nn.ModuleDict):
        return {name: one for name, one in projection.items() if isinstance(one, Projection)}
    return by_name(projection)


def roles_by_teacher(names: Iterable[str], losses: Mapping[str, LossTerm]) -> dict[str, frozenset[str]]:
    """Name of each teacher -> the roles whose vectors some losses of it take.

    Args:
        names: The teachers' names.
        losses: Name -> loss and weight.
    """
    return {
        name: frozenset[str]().union(
            *(teacher_roles(term.loss) for term in losses.values() if (term.teacher or ONE) == name)
        )
        for name in names
    }


def asked_of_teachers(
    teachers: Mapping[str, Encoder],
    projections: Mapping[str, Projection],
    terms: Mapping[str, LossTerm],
    losses: Sequence[EmbeddingLoss],
) -> dict[str, Teaching]:
    """Name -> what is asked of a teacher for some losses; of several teachers, those that have one of these.

    Args:
        teachers: By name.
        projections: By their teachers' names.
        terms: Those that are for the batch, which say whose losses they are.
        losses: The losses that will be called.
    """
    if ONE in teachers or not teachers:
        roles = {ONE: frozenset[str]().union(*map(teacher_roles, losses))}
    else:
        called = {id(loss) for loss in losses}
        theirs = {name: term for name, term in terms.items() if term.teacher is not None and id(term.loss) in called}
        roles = roles_by_teacher([term.teacher or ONE for term in theirs.values()], theirs)
    return {name: Teaching(teachers.get(name), projections.get(name), one) for name, one in roles.items()}
