from pathlib import Path

import pytest
import torch

from lightning_embed.encoders import TextEncoder
from lightning_embed.shrinking.budget import fitting, sizes_of
from lightning_embed.shrinking.cuts import Cut, Cuts
from lightning_embed.shrinking.tables import ranges
from tests.toys import FAMILIES, WORDS, toy_folder

TEXTS = [" ".join(WORDS[i : i + 1 + i % 7]) for i in range(20)]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_size_of_a_cut_is_known_before_it_is_made(family: str, tmp_path: Path) -> None:
    encoder = TextEncoder(str(toy_folder(tmp_path, family, layers=4))).eval()
    sizes, cuts = sizes_of(encoder), Cuts(encoder, TEXTS)
    assert sizes.of(4, sizes.neurons, 204) == pytest.approx(cuts.measure(cuts.whole).bytes, rel=0.002)
    made = cuts.measure(Cut((0, 2, 3), sizes.neurons // 2, tuple(range(104))))
    assert sizes.of(3, sizes.neurons // 2, 104) == pytest.approx(made.bytes, rel=0.02)
    cuts.close()


def test_as_many_layers_as_there_is_room_for(tmp_path: Path) -> None:
    sizes = sizes_of(TextEncoder(str(toy_folder(tmp_path, layers=4))))
    for layers in (1, 2, 4):
        exactly = sizes.of(layers, sizes.neurons, 204)
        assert sizes.most_layers(sizes.neurons, 204, exactly) == layers
        assert sizes.most_layers(sizes.neurons, 204, exactly - 1) == layers - 1
    assert sizes.most_layers(sizes.neurons, 204, 10**9) == 4


def test_every_choice_of_neurons_and_tokens_that_leaves_enough_layers(tmp_path: Path) -> None:
    sizes = sizes_of(TextEncoder(str(toy_folder(tmp_path, layers=4))))
    most = sizes.of(2, sizes.neurons, 204)
    found = list(fitting(sizes, most, None, [sizes.neurons, 8], [204, 50]))
    assert found[0] == (2, sizes.neurons, 204)
    assert all(sizes.of(*cut) <= most for cut in found)
    assert [cut[0] for cut in fitting(sizes, most, 3, [sizes.neurons, 8], [204])] == [3]


def test_the_whole_model_is_left_as_it_is(tmp_path: Path) -> None:
    encoder = TextEncoder(str(toy_folder(tmp_path, layers=3))).eval()
    before = encoder.encode(TEXTS)
    cuts = Cuts(encoder, TEXTS)
    cuts.build(Cut((0, 2), 8, tuple(range(50))))
    cuts.close()
    torch.testing.assert_close(encoder.encode(TEXTS), before)
    assert (encoder.config.num_hidden_layers, encoder.config.intermediate_size, encoder.config.vocab_size) == (
        3,
        64,
        204,
    )


def test_layers_in_a_row_are_a_range() -> None:
    assert ranges([0, 1, 2, 3, 5, 8, 9]) == "0-3, 5, 8, 9"
    assert ranges([]) == ""
