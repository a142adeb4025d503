from pathlib import Path

import pytest
import torch

from lightning_embed.encoders import TextEncoder
from lightning_embed.errors import UserError
from lightning_embed.shrinking.neurons import (
    contributions,
    feed_forwards,
    keep_neurons,
    neuron_count,
    smaller,
    strongest,
)
from tests.toys import FAMILIES, WORDS, toy_folder

TEXTS = [" ".join(WORDS[i : i + 1 + i % 7]) for i in range(40)]


@pytest.mark.parametrize("family", FAMILIES)
def test_another_order_of_the_neurons_changes_no_vector(family: str, tmp_path: Path) -> None:
    encoder = TextEncoder(str(toy_folder(tmp_path, family, layers=3))).eval()
    before, (_, count) = encoder.encode(TEXTS), neuron_count(encoder)
    keep_neurons(encoder, [torch.randperm(count) for _ in range(3)])
    torch.testing.assert_close(encoder.encode(TEXTS), before, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_neurons_that_add_nothing_go_first_and_no_vector_changes(family: str, tmp_path: Path) -> None:
    encoder = TextEncoder(str(toy_folder(tmp_path, family, layers=2))).eval()
    name, count = neuron_count(encoder)
    dead = torch.randperm(count)[: count // 2]
    for layer in feed_forwards(encoder):
        layer.down.weight.data[:, dead] = 0
    before = encoder.encode(TEXTS)
    kept = strongest(contributions(encoder, lambda: encoder.encode(TEXTS)), count - len(dead))
    assert not set(kept[0].tolist()) & set(dead.tolist())
    keep_neurons(encoder, kept)
    assert getattr(encoder.config, name) == count - len(dead)
    torch.testing.assert_close(encoder.encode(TEXTS), before, atol=1e-5, rtol=1e-4)
    encoder.backbone.save_pretrained(tmp_path)  # an ordinary model of the family
    torch.testing.assert_close(TextEncoder(str(tmp_path)).eval().encode(TEXTS), before, atol=1e-5, rtol=1e-4)


def test_a_contribution_by_hand(tmp_path: Path) -> None:
    encoder = TextEncoder(str(toy_folder(tmp_path, layers=1))).eval()
    (layer,) = feed_forwards(encoder)
    seen = []
    hook = layer.down.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach()))
    encoder.encode(["w1 w2"])
    hook.remove()
    expected = [
        sum(abs(float(a)) for a in seen[0][..., i].flatten()) * float(layer.down.weight[:, i].detach().norm())
        for i in range(layer.down.in_features)
    ]
    (found,) = contributions(encoder, lambda: encoder.encode(["w1 w2"]))
    assert found.tolist() == pytest.approx(expected, rel=1e-4)


def test_neurons_that_cannot_be_told_from_attention_are_refused(tmp_path: Path) -> None:
    encoder = TextEncoder(str(toy_folder(tmp_path, layers=1)))
    encoder.config.intermediate_size = encoder.config.hidden_size  # as its maps of queries, keys and values then have
    with pytest.raises(UserError, match="intermediate: the neurons of bert are not plain linear maps"):
        feed_forwards(encoder)


def test_numbers_to_try() -> None:
    assert list(smaller(1536)) == [1536, 1152, 768, 384]
    assert list(smaller(20)) == [20, 8, 8, 8]
