from pathlib import Path

import pytest
import torch

from lightning_embed.encoders import TextEncoder
from lightning_embed.errors import UserError
from lightning_embed.shrinking.closeness import closeness, shared_nearest
from lightning_embed.shrinking.layers import drop_layers, evenly_spaced, removable, with_layers
from tests.toys import FAMILIES, WORDS, toy_folder

TEXTS = [" ".join(WORDS[i : i + 1 + i % 7]) for i in range(40)]


def test_the_layer_goes_whose_removal_leaves_the_highest_score() -> None:
    worth = {0: 5.0, 1: 0.5, 2: 1.0, 3: 4.0}
    path = drop_layers(4, 2, {0, 1, 2, 3}, lambda left: sum(worth[i] for i in left))
    assert path == [[0, 1, 2, 3], [0, 2, 3], [0, 3]]


def test_each_removal_is_judged_with_the_earlier_ones_done() -> None:
    def score(left: list[int]) -> float:  # 1 and 2 do the same: one of them is needed
        return 1.0 if {0, 3} <= set(left) and set(left) & {1, 2} else 0.0

    (*_, left) = drop_layers(4, 3, {0, 1, 2, 3}, score)
    assert left in ([0, 1, 3], [0, 2, 3])


def test_layers_that_must_stay_are_not_dropped_and_too_few_are_refused() -> None:
    assert drop_layers(3, 2, {1, 2}, lambda left: -float(0 in left))[-1] in ([0, 1], [0, 2])
    with pytest.raises(UserError, match="2 of this model's 3 layers cannot be left out, got 1"):
        drop_layers(3, 1, {1}, lambda left: 0.0)


@pytest.mark.parametrize(
    ("count", "kept", "layers"), [(6, 3, [0, 2, 5]), (12, 4, [0, 4, 7, 11]), (4, 1, [3]), (2, 2, [0, 1])]
)
def test_evenly_spaced_layers(count: int, kept: int, layers: list[int]) -> None:
    assert evenly_spaced(count, kept) == layers


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_measured_is_what_a_model_of_these_layers_gives(family: str, tmp_path: Path) -> None:
    folder = str(toy_folder(tmp_path, family, layers=4))
    whole = TextEncoder(folder).eval()
    picked = TextEncoder(folder, layers=[0, 2, 3]).eval()
    before = whole.encode(TEXTS)
    torch.testing.assert_close(with_layers(whole, [0, 2, 3]).encode(TEXTS), picked.encode(TEXTS))
    torch.testing.assert_close(whole.encode(TEXTS), before)


def test_the_layer_that_differs_from_the_others_stays(tmp_path: Path) -> None:
    encoder = TextEncoder(str(toy_folder(tmp_path, "modernbert", layers=3)))
    assert removable(encoder) == {1, 2}  # the first has no norm before its attention


def test_equal_vectors_are_as_near_as_can_be_and_a_rotation_keeps_the_neighbours() -> None:
    z = torch.nn.functional.normalize(torch.randn(30, 8, generator=torch.Generator().manual_seed(0)))
    assert closeness(z, z) == pytest.approx((1.0, 1.0))
    turned = z @ torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(1)))[0]
    cosine, nearest = closeness(turned, z)
    assert cosine < 0.9
    assert nearest == 1.0


def test_shared_neighbours_by_hand() -> None:
    one = torch.tensor([[1.0], [2.0], [4.0], [8.0]])  # nearest by dot product: 3, 3, 3, 2
    other = torch.tensor([[1.0], [2.0], [8.0], [4.0]])  # 2, 2, 3, 2
    assert shared_nearest(one, other, k=1) == 0.5
    assert shared_nearest(one, one, k=9) == 1.0
    assert shared_nearest(torch.ones(1, 2), torch.ones(1, 2)) == 1.0
