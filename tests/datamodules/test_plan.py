import math
from collections import Counter

import numpy as np
import pytest

from lightning_embed.datamodules.collate import balanced
from lightning_embed.datamodules.mixture import turns
from lightning_embed.datamodules.plan import Plan, permute
from lightning_embed.errors import UserError


@pytest.mark.parametrize("size", [1, 2, 3, 17, 1000])
def test_permute_is_a_permutation_that_the_key_changes(size: int) -> None:
    index = np.arange(size)
    assert sorted(permute(index, size, 5)) == list(index)
    if size > 10:
        assert list(permute(index, size, 5)) != list(permute(index, size, 6)) != list(index)


def test_an_epoch_reads_each_row_once_and_epochs_differ() -> None:
    plan = Plan((40, 20), (10, 10), seed=3)
    epochs = [[(plan[k].source, tuple(plan[k].rows)) for k in range(e * 6, e * 6 + 6)] for e in (0, 1)]
    for epoch in epochs:
        seen = sorted((source, row) for source, rows in epoch for row in rows)
        assert seen == [(0, i) for i in range(40)] + [(1, i) for i in range(20)]
    assert epochs[0] != epochs[1]


def test_a_mixture_gives_each_source_its_share_in_any_order_of_asking() -> None:
    batches, weights = (90, 9, 1), (1.0, 1.0, 1.0)
    assert turns(batches, weights, "size", 2) == batches
    assert turns(batches, (1, 2, 3), "size", 2) == (90, 18, 3)
    assert turns(batches, (2, 1, 1), "weight", 2) == (50, 25, 25)
    assert turns(batches, weights, "temperature", 2) == (
        70,
        22,
        8,
    )  # 100 · √b / (√90 + 3 + 1), the largest remainders up
    assert turns(batches, weights, "temperature", 1) == batches
    assert turns(batches, weights, "round_robin", 2) == (33, 33, 33)
    plan = Plan((900, 90, 10), (10, 10, 10), turns=(50, 25, 25), seed=1)
    asked = {k: plan[k] for k in (250, 0, 99, 100, 50, *range(300))}
    for epoch in range(3):
        sources = [asked[k].source for k in range(100 * epoch, 100 * epoch + 100)]
        assert [sources.count(s) for s in range(3)] == [50, 25, 25] and sources != sorted(sources)
    small = [tuple(sorted(asked[k].rows)) for k in range(300) if asked[k].source == 2]
    assert set(small) == {tuple(range(10))}  # ten rows, one batch, again and again
    middle = [row for k in range(300) if asked[k].source == 1 for row in asked[k].rows]
    assert sorted(middle[:90]) == list(range(90)) == sorted(middle[90:180]) and middle[:90] != middle[90:180]


def test_round_robin_takes_the_sources_strictly_in_turn() -> None:
    plan = Plan((900, 90), (10, 10), turns=(4, 4), alternate=True)
    assert [plan[k].source for k in range(10)] == [0, 1] * 5


def test_a_mixture_that_means_nothing_is_refused() -> None:
    with pytest.raises(UserError, match="weight"):
        turns((3, 4), (1.0, 2.0), "round_robin", 2)


def test_ranks_share_the_rows_evenly_in_number_and_in_what_there_is_to_read() -> None:
    sizes = np.random.default_rng(0).lognormal(5, 1, 1001).astype(np.int64)
    for world in (1, 2, 4):
        shares = [balanced(sizes, rank, world) for rank in range(world)]
        assert sorted(np.concatenate(shares)) == list(range(1001))
        assert max(map(len, shares)) - min(map(len, shares)) <= 1
        loads = [int(sizes[share].sum()) for share in shares]
        assert max(loads) - min(loads) <= sizes.max()


def test_fewer_rows_than_a_batch_still_make_a_step() -> None:
    assert len(Plan((3,), (10,))) == 1 and len(Plan((3,), (10,))[0].rows) == 3


def test_a_far_step_costs_no_more_than_a_near_one() -> None:
    assert len(Plan((10_000_000,), (512,))[1_000_000].rows) == 512


@pytest.mark.parametrize("size", [2, 3, 4])
def test_every_order_of_a_few_rows_comes_about_as_often_as_another(size: int) -> None:
    keys = 200 * math.factorial(size)
    orders = Counter(tuple(permute(np.arange(size), size, key).tolist()) for key in range(keys))
    assert len(orders) == math.factorial(size)
    assert min(orders.values()) > 100 and max(orders.values()) < 320  # 200 each, by chance 14 more or less


def test_each_row_comes_first_as_often_as_another() -> None:
    first = Counter(int(permute(np.arange(1), 11, key)[0]) for key in range(4_400))
    assert (
        len(first) == 11 and min(first.values()) > 320 and max(first.values()) < 480
    )  # 400 each, by chance 20 more or less


def test_a_shuffle_is_of_the_whole_and_not_of_a_buffer() -> None:
    size = 1_000_003
    first = permute(np.arange(10_000), size, 7)
    assert abs(first.mean() / size - 0.5) < 0.02 and len(np.unique(first // (size // 100))) >= 100
    moved = np.abs(np.diff(first))
    assert abs(moved.mean() / size - 1 / 3) < 0.02  # neighbours in the order are strangers in the file
    assert abs(np.corrcoef(first, permute(np.arange(10_000), size, 8))[0, 1]) < 0.05


def test_a_step_depends_on_seed_and_number_alone() -> None:
    sizes, batches, turns_of = (1000, 77), (32, 8), (40, 25)
    one, same = (Plan(sizes, batches, turns=turns_of, seed=5) for _ in range(2))
    other = Plan(sizes, batches, turns=turns_of, seed=6)
    asked = [1_000_000, 3, 65, 12_345_678_901]
    for k in asked:
        assert (one[k].source, one[k].rows.tolist()) == (same[k].source, same[k].rows.tolist())
    assert [one[k].rows.tolist() for k in range(65)] != [other[k].rows.tolist() for k in range(65)]


def test_a_lone_source_has_every_turn_and_sources_of_a_mixture_keep_their_own_epochs() -> None:
    alone = Plan((100,), (10,), turns=(20,))
    assert [alone.turn(k) for k in (0, 19, 20, 1_000_000)] == [(0, 0), (0, 19), (0, 20), (0, 1_000_000)]
    both = Plan((100, 30), (10, 10), turns=(5, 10), seed=2)
    for source, batches in ((0, 10), (1, 3)):
        read = [both[k] for k in range(150) if both[k].source == source]
        assert [step.epoch for step in read] == [i // batches for i in range(len(read))]
        for start in range(0, len(read) - batches + 1, batches):
            rows = sorted(row for step in read[start : start + batches] for row in step.rows.tolist())
            assert rows == list(range(both.sizes[source]))
