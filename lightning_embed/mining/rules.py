"""The rules: which of an anchor's nearest texts are its negatives, and which rule each of the others fell to.

The names, the defaults and what each rule means are those of `sentence_transformers.util.mine_hard_negatives`, but for
relative_margin, which is 0.05 here (positive-aware mining, NV-Retriever, arXiv 2407.15831) and None there.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_embed.datamodules.plan import mix
from lightning_embed.errors import UserError
from lightning_embed.utils.numbers import check_number

VERDICTS = (
    "chosen",
    "positive",
    "label",
    "absolute_margin",
    "relative_margin",
    "max_score",
    "min_score",
    "range_min",
    "range_max",
    "left over",
)
"""What becomes of a candidate, in the order in which the rules are asked: it falls to the first that is against it."""
CHOSEN, POSITIVE, LABEL, ABSOLUTE, RELATIVE, MAX_SCORE, MIN_SCORE, RANGE_MIN, RANGE_MAX, LEFT_OVER = range(
    len(VERDICTS)
)
NONE = -1
"""The verdict of a place without a candidate, and the place of a negative that is lacking."""


@dataclass(frozen=True)
class Rules:
    """Which candidates are negatives.

    Args:
        range_min: How many of the nearest that pass the other rules are skipped.
        range_max: Rank up to which the nearest are looked at; None: range_min + 10 · num_negatives + the most positives of an anchor.
        max_score: The most that a negative's score may be.
        min_score: The least that a negative's score must be.
        absolute_margin: How far a negative's score must be below its positive's.
        relative_margin: The same, as a share of the positive's score.
        num_negatives: Negatives of an anchor, at least 1; where fewer pass, fewer.
        sampling_strategy: The `top` ones of those that pass, or `random` ones.
        seed: What `random` draws: the same negatives for the same seed.
    """

    range_min: int = 0
    range_max: int | None = None
    max_score: float | None = None
    min_score: float | None = None
    absolute_margin: float | None = None
    relative_margin: float | None = 0.05
    num_negatives: int = 3
    sampling_strategy: Literal["top", "random"] = "top"
    seed: int = 0

    def __post_init__(self) -> None:
        check_number("num_negatives", self.num_negatives, least=1, whole=True)
        check_number("range_min", self.range_min, least=0, whole=True)
        check_number("range_max", self.range_max, least=1, whole=True, optional=True)
        check_number("max_score", self.max_score, optional=True)
        check_number("min_score", self.min_score, optional=True)
        check_number("absolute_margin", self.absolute_margin, least=0, optional=True)
        check_number("relative_margin", self.relative_margin, least=0, optional=True)
        check_number("seed", self.seed, whole=True)
        if self.range_max is not None and self.range_max - self.range_min < self.num_negatives:
            raise UserError(
                f"range_max {self.range_max} less range_min {self.range_min} leaves {self.range_max - self.range_min} candidates "
                f"for {self.num_negatives} negatives; raise range_max or lower the others"
            )
        if self.max_score is not None and self.min_score is not None and self.max_score < self.min_score:
            raise UserError(f"max_score {self.max_score} is below min_score {self.min_score}: nothing is between them")

    def last_rank(self, most_positives: int, rescored: bool = False) -> int:
        """range_max, or what it is when it is not given.

        Args:
            most_positives: The most positives that an anchor has.
            rescored: Whether a cross-encoder scores the candidates.
        """
        if self.range_max is not None:
            return self.range_max
        above = (self.absolute_margin, self.relative_margin, self.max_score)
        strict = any(rule is not None for rule in above) or (rescored and self.min_score is not None)
        return self.range_min + (10 if strict else 1) * self.num_negatives + most_positives


class Choice(NamedTuple):
    """What the rules make of n anchors' k candidates."""

    places: NDArray[np.int64]
    """(n, num_negatives) which candidates are negatives, the highest score first; -1 where one is lacking."""
    verdicts: NDArray[np.int8]
    """(n, k) index into `VERDICTS`; -1 where a candidate is missing."""


def choose(
    rules: Rules,
    scores: NDArray[np.float32],
    ids: NDArray[np.integer],
    positive_scores: NDArray[np.float32],
    belongs: NDArray[np.bool_],
    same_label: NDArray[np.bool_],
    last_rank: int,
    draw: NDArray[np.uint64] | None = None,
) -> Choice:
    """Asks every rule about every candidate and takes the negatives among those that pass.

    Args:
        rules: Which candidates may be negatives, and how many are taken.
        scores: (n, k) the candidates' scores, finite.
        ids: (n, k) which texts they are; below 0 where there is none.
        positive_scores: (n,) the lowest score among each anchor's positives.
        belongs: (n, k) whether the text is a positive of the anchor, or the anchor's own text.
        same_label: (n, k) whether it has a label or document in common with the anchor.
        last_rank: range_max.
        draw: (n,) a number for each anchor, by which `random` draws.
    """
    limit = positive_scores[:, None]
    verdicts = np.full(scores.shape, CHOSEN, dtype=np.int8)

    def fall(rule: int, to: NDArray[np.bool_]) -> None:
        verdicts[(verdicts == CHOSEN) & to] = rule

    verdicts[ids < 0] = NONE
    fall(POSITIVE, belongs)
    fall(LABEL, same_label)
    if rules.absolute_margin is not None:
        fall(ABSOLUTE, scores + rules.absolute_margin > limit)
    if rules.relative_margin is not None:
        fall(RELATIVE, scores > limit - np.abs(limit) * rules.relative_margin)
    if rules.max_score is not None:
        fall(MAX_SCORE, scores > rules.max_score)
    if rules.min_score is not None:
        fall(MIN_SCORE, scores < rules.min_score)
    rank = _rank(verdicts == CHOSEN, scores)
    fall(RANGE_MIN, rank < rules.range_min)
    fall(RANGE_MAX, rank >= last_rank)
    if rules.sampling_strategy == "random":
        assert draw is not None
        chance = mix(ids.astype(np.int64).astype(np.uint64) ^ mix(draw, 1)[:, None], 0)
        rank = _rank(verdicts == CHOSEN, chance.astype(np.float64))
    else:
        rank = rank - rules.range_min
    fall(LEFT_OVER, rank >= rules.num_negatives)
    order = np.argsort(np.where(verdicts == CHOSEN, -scores, np.inf), axis=1, kind="stable")[:, : rules.num_negatives]
    found = np.take_along_axis(verdicts, order, axis=1) == CHOSEN
    places = np.full((len(scores), rules.num_negatives), NONE, dtype=np.int64)
    places[:, : order.shape[1]] = np.where(found, order, NONE)
    return Choice(places, verdicts)


def _rank(among: NDArray[np.bool_], values: NDArray[np.floating]) -> NDArray[np.int64]:
    """(n, k) each candidate's rank by value, from high to low, among some of its row; the others come after them."""
    order = np.argsort(np.where(among, -values, np.inf), axis=1, kind="stable")
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.arange(values.shape[1])[None, :], axis=1)
    return rank


def tally(verdicts: NDArray[np.int8]) -> NDArray[np.int64]:
    """(len(VERDICTS),) how many candidates had each verdict.

    Args:
        verdicts: (n, k).
    """
    return np.bincount(verdicts[verdicts != NONE], minlength=len(VERDICTS))
