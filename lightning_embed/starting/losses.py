"""Which losses fit which kinds of rows, and which of several sources each is for."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from lightning_embed.losses.base import CONDITIONS
from lightning_embed.starting.found import LABELLED, NEGATIVES, PAIRS, SCORED, SCORED_NEGATIVES, TEXTS

EVERY = (TEXTS, PAIRS, NEGATIVES, SCORED, SCORED_NEGATIVES, LABELLED)
CONTRASTED = (PAIRS, NEGATIVES, SCORED_NEGATIVES)


@dataclass(frozen=True)
class Choice:
    """A loss that the file may have."""

    name: str
    loss: str
    """As YAML."""
    weight: float
    kinds: tuple[str, ...]
    """The kinds of rows that it is for."""
    comment: str


CHOICES = (
    Choice("distill", "{class_path: Distillation}", 20.0, EVERY, "the student's vectors near the teacher's"),
    Choice(
        "nce",
        "{class_path: InfoNCE, init_args: {temperature: 0.02, learnable_temperature: true}}",
        1.0,
        (*CONTRASTED, LABELLED),
        "each anchor nearer to its positive than to the rest of the batch",
    ),
    Choice("gor", "{class_path: GOR}", 1.0, CONTRASTED, "spreads the vectors, for truncated and binary ones"),
    Choice("cosent", "{class_path: CoSENT}", 1.0, (SCORED,), "orders pairs by their scores"),
    Choice(
        "kl",
        "{class_path: KLDistillation, init_args: {targets: score}}",
        1.0,
        (SCORED_NEGATIVES,),
        "ranks negatives as their scores do; lower teacher_temperature if scores lie within 0 to 1",
    ),
)


@dataclass(frozen=True)
class Term:
    """A loss of the file."""

    choice: Choice
    weight: float
    when: str | None


def choose(kinds: Mapping[str, Collection[str]]) -> list[Term]:
    """The losses for some sources, with `when` where one is not for all of them.

    Args:
        kinds: Kind of rows -> what the batches of its sources have (`Given.there`).
    """
    chosen = [one for one in CHOICES if set(one.kinds) & set(kinds)]
    alone = len(chosen) == 1
    return [
        Term(
            one,
            1.0 if alone else one.weight,
            condition(
                [there for kind, there in kinds.items() if kind in one.kinds],
                [there for kind, there in kinds.items() if kind not in one.kinds],
            ),
        )
        for one in chosen
    ]


def condition(taken: Sequence[Collection[str]], others: Sequence[Collection[str]]) -> str | None:
    """A `when` that takes some batches and none of the others, as far as what they have tells them apart; None where there are no others.

    Args:
        taken: What each of them has.
        others: What each of the others has.
    """
    left, chosen = list(others), []
    while left:
        kept = {
            name: [there for there in left if (what in there) == holds]
            for what in ("positive", *CONDITIONS)
            for name, holds in ((what, True), (f"no {what}", False))
            if all((what in there) == holds for there in taken)
        }
        best = min(kept, key=lambda name: len(kept[name]), default=None)
        if best is None or len(kept[best]) == len(left):
            break
        chosen.append(best)
        left = kept[best]
    return " and ".join(chosen) or None
