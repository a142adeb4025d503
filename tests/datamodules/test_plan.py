import numpy as np
import pytest

from lightning_embed.datamodules.plan import Plan, permute


@pytest.mark.parametrize("size", [1, 2, 3, 17, 1000])
def test_permute_is_a_permutation_that_the_key_changes(size: int) -> None:
    index = np.arange(size)
    assert sorted(permute(index, size, 5)) == list(index)
    if size > 10:
        assert list(permute(index, size, 5)) != list(permute(index, size, 6)) != list(index)


def test_an_epoch_reads_each_row_once_and_epochs_differ() -> None:
    plan = Plan((40, 20), 10, seed=3)
    epochs = [[(plan[k].source, tuple(plan[k].rows)) for k in range(e * 6, e * 6 + 6)] for e in (0, 1)]
    for epoch in epochs:
        seen = sorted((source, row) for source, rows in epoch for row in rows)
        assert seen == [(0, i) for i in range(40)] + [(1, i) for i in range(20)]
    assert epochs[0] != epochs[1]


def test_ranks_share_the_rows_of_the_global_step() -> None:
    plan = Plan((100,), 10)
    whole = set(plan[4].rows)
    for world in (1, 2, 4):
        shares = [set(plan.share(4, rank, world).rows) for rank in range(world)]
        assert set().union(*shares) == whole and sum(map(len, shares)) == 10


def test_fewer_rows_than_a_batch_still_make_a_step() -> None:
    assert len(Plan((3,), 10)) == 1 and len(Plan((3,), 10)[0].rows) == 3


def test_a_far_step_costs_no_more_than_a_near_one() -> None:
    assert len(Plan((10_000_000,), 512)[1_000_000].rows) == 512
