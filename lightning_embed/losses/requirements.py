"""What a loss requires against what there is: asked of the sources before the first step, and of every batch."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from typing import Protocol

from lightning_embed.batch import ANCHOR, NEGATIVE, ROLES
from lightning_embed.errors import UserError


class Requiring(Protocol):
    """A loss, as far as it is asked about here: `EmbeddingLoss.check` calls this file, which so cannot import it."""

    requires: frozenset[str]
    uses: frozenset[str]
    taught_by: frozenset[str] | None


class Term(Protocol):
    """A loss with the batches that it is for."""

    @property
    def loss(self) -> Requiring:
        """The loss."""

    def takes(self, there: Set[str], teachers: Collection[str] | None) -> bool:
        """Whether it is for batches with these roles and columns, of a source that names these teachers."""


@dataclass(frozen=True)
class Given:
    """What the batches of a source carry."""

    source: str
    """The source's name."""
    roles: frozenset[str]
    """Roles that texts are there for: `anchor`, `positive`, `negative`."""
    columns: Mapping[str, Set[str]] = field(default_factory=dict)
    """`score`, `label`, `teacher`, … -> the roles that it is there for."""
    rows: int = 0
    """How many rows it has."""
    batch: int = 0
    """The most rows of a batch over all ranks; 0: not known."""
    unlike: int = 0
    """Rows whose score says that anchor and positive do not belong together."""
    without_negatives: int = 0
    """Rows without a negative."""
    same: frozenset[str] = frozenset()
    """What is the same in all rows: `anchor`, `positive`, `score`."""
    teachers: Collection[str] | None = None
    """Names of the teachers whose losses are for it; None: all."""

    @property
    def there(self) -> frozenset[str]:
        """Roles and columns by which a term chooses its batches."""
        return self.roles | {what for what, roles in self.columns.items() if roles} - {"keys"}


def teacher_roles(loss: Requiring) -> frozenset[str]:
    """The roles whose teacher vectors a loss takes; none if it needs no teacher.

    Args:
        loss: Says it by `requires`, `uses` and `taught_by`.
    """
    named = loss.requires | loss.uses
    if "teacher" not in named:
        return frozenset()
    return named & set(ROLES) if loss.taught_by is None else loss.taught_by


def takes_teacher(loss: Requiring) -> bool:
    """Whether a loss takes a teacher's vectors or its projection.

    Args:
        loss: Says it by `requires` and `uses`.
    """
    return not {"teacher", "projection"}.isdisjoint(loss.requires | loss.uses)


def lacking(loss: Requiring, given: Given) -> list[str]:
    """What a loss requires that is not there, such as `negative`, `teacher`, or `score of negative`.

    Args:
        loss: Says it by `requires` and `uses`.
        given: What is there.
    """
    there = given.roles | {what for what, roles in given.columns.items() if roles}
    missing = sorted(loss.requires - there)
    if missing:
        return missing
    taken = (loss.requires | loss.uses) & given.roles
    taught = teacher_roles(loss) & given.roles
    wanted = {"teacher": taught, "reference": taken, "score": loss.requires & set(ROLES) - {ANCHOR}}
    return [
        f"{what} of {role}"
        for what in sorted(loss.requires & set(wanted))
        for role in sorted(wanted[what] - given.columns[what])
    ]


def refuse(name: str, loss: Requiring, given: Given) -> None:
    """Raises `UserError` if something is lacking.

    Args:
        name: The loss's name in the configuration.
        loss: The loss.
        given: What a source, or a batch of it, has.
    """
    missing = lacking(loss, given)
    if missing:
        raise UserError(
            f"loss '{name}' ({type(loss).__name__}) requires {', '.join(missing)}, which the batch of source "
            f"'{given.source}' lacks (it has {', '.join(sorted(given.roles))}): give the source such a column, or drop the loss"
        )


def check_sources(terms: Mapping[str, Term], sources: Iterable[Given], vectors: Iterable[str]) -> None:
    """Raises `UserError` at the first source that lacks what a loss requires: before the first step, not at that source's first turn.

    Args:
        terms: Name -> loss, of those that will be called.
        sources: What each training source gives.
        vectors: Which of `teacher`, `reference` and `projection` the module has.
    """
    vectors = tuple(vectors)
    for given in sources:
        columns = {**given.columns, **dict.fromkeys(vectors, given.roles)}
        taken = _taken(terms, given)
        if terms and not taken:
            named = "" if given.teachers is None else f" (teachers: [{', '.join(given.teachers)}])"
            raise UserError(
                f"source '{given.source}' has {', '.join(sorted(given.there))}{named}, and no loss is for such batches: correct `when`"
                f"{' or `teachers`' if named else ''}, or drop it"
            )
        idle = _idle(terms, given)
        if idle and len(idle) == len(taken):
            raise UserError(
                f"nothing can be learnt from source '{given.source}' by {', '.join(idle)}: {'; '.join(dict.fromkeys(idle.values()))}; "
                "give it other rows or another batch_size, or add a loss that learns from it"
            )
        for name, loss in taken.items():
            refuse(name, loss, Given(given.source, given.roles, columns))
            if given.unlike and getattr(loss, "pulls_pairs", False):
                raise UserError(
                    f"loss '{name}' ({type(loss).__name__}) takes every row for a pair that belongs together, and {given.unlike:,} rows of "
                    f"source '{given.source}' are labelled 0: leave them out with a filter on the label, or take a loss of scores, such as "
                    "CoSENT, and give this one `when: no score`"
                )


def _learns_nothing(loss: Requiring, given: Given) -> str | None:
    """Why a loss is 0 on every batch of a source; None if it is not."""
    must_differ: Set[str] = getattr(loss, "must_differ", frozenset())
    negatives = NEGATIVE in given.roles & (loss.requires | loss.uses)
    if must_differ and not negatives and given.batch == 1:
        return "its batches have one row"
    same = must_differ & given.same - (frozenset() if not negatives else set(ROLES))
    return f"all its {sorted(same)[0]}s are the same" if same else None


def _idle(terms: Mapping[str, Term], given: Given) -> dict[str, str]:
    """Name -> why, of the losses for a source's batches that learn nothing from them."""
    whys = {name: _learns_nothing(loss, given) for name, loss in _taken(terms, given).items()}
    return {name: why for name, why in whys.items() if why is not None}


def remarks(terms: Mapping[str, Term], sources: Iterable[Given]) -> Iterator[str]:
    """What the sources give that no loss takes, and what they lack in part, a line each.

    Args:
        terms: Name -> loss, of those that will be called.
        sources: What each training source gives.
    """
    for given in sources:
        for name, why in _idle(terms, given).items():
            yield f"source '{given.source}': loss '{name}' learns nothing from it, since {why}"
        needing = [name for name, loss in _taken(terms, given).items() if NEGATIVE in loss.requires]
        if given.without_negatives and needing:
            yield (
                f"source '{given.source}': {given.without_negatives:,} of {given.rows:,} rows have no negative, and {', '.join(needing)} "
                "learns nothing from them: leave them out, or mine negatives for them"
            )
        if given.columns.get("score") and not any("score" in loss.requires for loss in _taken(terms, given).values()):
            yield (
                f"source '{given.source}' has scores, and no loss takes them: rows of low scores train like those of high ones; add a loss "
                "of scores (CoSENT, AnglE, or targets: score), or choose rows with a filter"
            )


def _taken(terms: Mapping[str, Term], given: Given) -> dict[str, Requiring]:
    """Name -> loss, of those that are for a source's batches."""
    return {name: term.loss for name, term in terms.items() if term.takes(given.there, given.teachers)}
