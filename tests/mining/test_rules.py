import inspect
from dataclasses import fields

import numpy as np
import pytest

from lightning_embed.errors import UserError
from lightning_embed.mining.rules import NONE, VERDICTS, Rules, choose, tally

NOBODY = np.zeros((1, 6), dtype=bool)


def asked(rules: Rules, scores: list[float], positive: float, last_rank: int = 100, **masks: np.ndarray) -> list[str]:
    """The verdicts of one anchor's candidates, by name."""
    row = np.array([scores], dtype=np.float32)
    none = np.zeros(row.shape, dtype=bool)
    belongs, label = masks.get("belongs", none), masks.get("label", none)
    ids = np.arange(row.shape[1])[None]
    choice = choose(rules, row, ids, np.array([positive], np.float32), belongs, label, last_rank)
    return [VERDICTS[f] for f in choice.verdicts[0]]


def test_each_rule_by_hand() -> None:
    scores = [0.99, 0.9, 0.8, 0.7, 0.6, 0.5]
    said = asked(Rules(relative_margin=0.1, num_negatives=2), scores, 0.9)  # at most 0.81
    assert said == ["relative_margin", "relative_margin", "chosen", "chosen", "left over", "left over"]
    said = asked(Rules(relative_margin=None, absolute_margin=0.25, num_negatives=9), scores, 0.9)  # at most 0.65
    assert said == ["absolute_margin"] * 4 + ["chosen"] * 2
    said = asked(Rules(relative_margin=None, max_score=0.75, min_score=0.55, num_negatives=9), scores, 0.1)
    assert said == ["max_score"] * 3 + ["chosen"] * 2 + ["min_score"]
    said = asked(Rules(relative_margin=None, range_min=2, num_negatives=2), scores, 0.1, last_rank=5)
    assert said == ["range_min"] * 2 + ["chosen"] * 2 + ["left over", "range_max"]


def test_ranks_count_only_what_passed_the_other_rules() -> None:
    rules = Rules(relative_margin=None, max_score=0.85, range_min=1, num_negatives=1)
    assert asked(rules, [0.9, 0.8, 0.7], 0.1) == ["max_score", "range_min", "chosen"]


def test_positives_and_labels_come_before_every_other_rule() -> None:
    first, second = np.array([[True, False, False]]), np.array([[False, True, False]])
    rules = Rules(max_score=0.1, num_negatives=1)
    assert asked(rules, [0.9, 0.8, 0.05], 0.9, belongs=first, label=second) == ["positive", "label", "chosen"]


def test_the_relative_margin_of_a_negative_score_goes_down_too() -> None:
    # -0.2 less 5 % of 0.2 is -0.21
    assert asked(Rules(num_negatives=3), [-0.2, -0.205, -0.22], -0.2) == [
        "relative_margin",
        "relative_margin",
        "chosen",
    ]


def test_a_score_at_the_limit_passes() -> None:
    assert asked(Rules(relative_margin=0.5, num_negatives=1), [0.25], 0.5) == ["chosen"]


def loop(
    rules: Rules, scores: list[float], ids: list[int], positive: float, bad: list[bool], last_rank: int
) -> list[int]:
    """The `top` negatives of one anchor, candidate by candidate."""
    passed = []
    for place in sorted(range(len(scores)), key=lambda p: (-scores[p], p)):
        value = np.float32(scores[place])
        limits = [np.float32(positive) - np.float32(m) for m in [rules.absolute_margin] if m is not None]
        limits += [
            np.float32(positive) - abs(np.float32(positive)) * np.float32(m)
            for m in [rules.relative_margin]
            if m is not None
        ]
        limits += [np.float32(m) for m in [rules.max_score] if m is not None]
        if ids[place] < 0 or bad[place] or any(value > limit + 1e-7 for limit in limits):
            continue
        if rules.min_score is not None and value < np.float32(rules.min_score):
            continue
        passed.append(place)
    return passed[:last_rank][rules.range_min :][: rules.num_negatives]


@pytest.mark.parametrize("seed", range(30))
def test_an_independent_loop_chooses_the_same(seed: int) -> None:
    rng = np.random.default_rng(seed)

    def maybe(low: float, high: float) -> float | None:
        return float(rng.uniform(low, high)) if rng.random() < 0.5 else None

    rules = Rules(
        range_min=int(rng.integers(0, 4)), max_score=maybe(0.5, 1), min_score=maybe(-1, 0.2), absolute_margin=maybe(0, 0.3),
        relative_margin=maybe(0, 0.3), num_negatives=int(rng.integers(1, 6)),
    )  # fmt: skip
    n, k = 50, 20
    scores = rng.uniform(-1, 1, (n, k)).astype(np.float32)  # not sorted: a cross-encoder's are not
    ids = np.where(rng.random((n, k)) < 0.1, -1, np.arange(k))
    bad, label = rng.random((n, k)) < 0.1, rng.random((n, k)) < 0.1
    positive = rng.uniform(-1, 1, n).astype(np.float32)
    last_rank = int(rng.integers(5, 25))
    choice = choose(rules, scores, ids, positive, bad, label, last_rank)
    for i in range(n):
        wanted = loop(rules, scores[i].tolist(), ids[i].tolist(), positive[i], (bad | label)[i].tolist(), last_rank)
        assert choice.places[i][choice.places[i] != NONE].tolist() == wanted
    assert tally(choice.verdicts).sum() == (ids >= 0).sum()
    assert tally(choice.verdicts)[0] == (choice.places != NONE).sum()


def test_random_takes_any_that_pass_and_the_same_ones_again() -> None:
    rules = Rules(relative_margin=None, range_min=1, num_negatives=3, sampling_strategy="random")
    n, k = 4000, 12
    scores = np.tile(np.linspace(1, 0, k, dtype=np.float32), (n, 1))
    ids = np.tile(np.arange(k), (n, 1))
    none = np.zeros((n, k), dtype=bool)

    def drawn(seed: int) -> np.ndarray:
        draw = np.arange(n, dtype=np.uint64) + np.uint64(seed)
        return choose(rules, scores, ids, np.ones(n, np.float32), none, none, 10, draw).places

    places = drawn(0)
    assert np.array_equal(places, drawn(0)) and not np.array_equal(places, drawn(10**6))
    assert (np.diff(places) > 0).all()  # the highest score first
    counts = np.bincount(places.ravel(), minlength=k)
    assert counts[0] == 0 and (counts[10:] == 0).all()  # outside the range
    assert np.allclose(counts[1:10], n * 3 / 9, rtol=0.12)


def test_fewer_candidates_than_asked_give_fewer_negatives() -> None:
    rules = Rules(relative_margin=None, num_negatives=4)
    ids = np.array([[3, 7, -1, -1], [-1, -1, -1, -1]])
    scores = np.where(ids < 0, -np.inf, 0.5).astype(np.float32)
    none = np.zeros(ids.shape, dtype=bool)
    assert choose(rules, scores, ids, np.ones(2, np.float32), none, none, 9).places.tolist() == [
        [0, 1, -1, -1],
        [-1] * 4,
    ]
    two = choose(rules, scores[:, :2], ids[:, :2], np.ones(2, np.float32), none[:, :2], none[:, :2], 9)
    assert two.places.shape == (2, 4)  # fewer candidates than negatives


def test_names_and_defaults_are_those_of_sentence_transformers() -> None:
    from sentence_transformers.util import mine_hard_negatives

    theirs = inspect.signature(mine_hard_negatives).parameters
    ours = {field.name: field.default for field in fields(Rules) if field.name != "seed"}  # theirs takes no seed
    assert {name: theirs[name].default for name in ours} == ours | {"relative_margin": None}


def test_range_max_is_derived_as_in_sentence_transformers() -> None:
    assert Rules(range_min=2, num_negatives=3).last_rank(4) == 2 + 30 + 4
    assert Rules(relative_margin=None, num_negatives=3).last_rank(4) == 3 + 4
    assert Rules(relative_margin=None, min_score=0.1, num_negatives=3).last_rank(1, rescored=True) == 31
    assert Rules(range_max=50).last_rank(4) == 50


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"num_negatives": 0}, "num_negatives must be at least 1, got 0"),
        ({"range_min": -1}, "range_min must be at least 0"),
        ({"range_min": 8, "range_max": 10}, "leaves 2 candidates for 3 negatives"),
        ({"relative_margin": -0.1}, "relative_margin must be at least 0"),
        ({"absolute_margin": float("nan")}, "absolute_margin must be a finite number at least 0"),
        ({"min_score": 0.5, "max_score": 0.4}, "nothing is between them"),
    ],
)
def test_settings_that_leave_nothing_are_refused(settings: dict, said: str) -> None:
    with pytest.raises(UserError, match=said):
        Rules(**settings)
