"""The memory estimate, by hand and against what autograd really keeps."""

from typing import Any

import pytest
import torch

from lightning_embed.doctor.memory_model import Layout, Size, activations, estimate, held, size_of
from lightning_embed.losses.slices import SLICE

PLAIN = Size(parameters=1000, trainable=900, weight_bytes=4000, layers=2, hidden=8, intermediate=32, heads=4)


def test_activations_by_hand() -> None:
    # 2 layers, chunks of 3x5 and 2x4 texts: 23 tokens of 9*8 + 2*32 = 136 numbers of 4 bytes
    assert activations(PLAIN, [(3, 5), (2, 4)]) == 2 * 23 * 136 * 4
    gated = Size(1000, 900, 4000, 2, 8, 32, 4, gated=True)
    assert activations(gated, [(3, 5)], mixed=True) == 2 * 15 * (17 * 8 + 4 * 32) * 2
    eager = Size(1000, 900, 4000, 2, 8, 32, 4, dropout=True, fused=False)
    assert activations(eager, [(3, 5)]) == 2 * 4 * (15 * (11 * 8 + 2 * 32) + 3 * 4 * 3 * 25)


def test_a_step_by_hand() -> None:
    found = estimate(PLAIN, [(3, 5)], teachers=[(PLAIN, False)], teacher_chunk=(3, 5), anchors=4, documents=10)
    assert (found.weights, found.gradients, found.optimizer) == (4000, 3600, 7200)
    assert found.activations == 2 * 15 * 136 * 4
    assert found.teacher == 4000 + 15 * (4 * 8 + 2 * 32) * 4
    assert found.losses == 12 * 14 * 8 + 12 * 40
    assert found.total == 4000 + 3600 + 7200 + 2 * 15 * 136 * 4 + found.teacher + found.losses
    assert estimate(PLAIN, [(3, 5)], mixed=True).weights == 4000 + 2 * 1000
    many = estimate(PLAIN, [(3, 5)], anchors=10**5, documents=10**5)
    assert many.losses == 12 * 2 * 10**5 * 8 + 12 * SLICE  # the matrix is never whole


LAYERED = Size(
    parameters=1000, trainable=1000, weight_bytes=4000, layers=2, hidden=8, intermediate=32, heads=4, layer=300
)


def test_a_step_under_ddp_by_hand() -> None:
    found = estimate(LAYERED, [(3, 5)], layout=Layout(ranks=2))
    assert (found.weights, found.gradients, found.optimizer) == (4000, 8000, 8000)


def test_a_step_under_fsdp2_by_hand() -> None:
    # 4 devices share all; 1000 - 2*300 = 400 parameters are outside of the layers
    found = estimate(LAYERED, [(3, 5)], teachers=[(LAYERED, False)], layout=Layout(ranks=4, shard=4))
    assert LAYERED.outside == 400
    assert found.weights == 1000 + 4 * (400 + 2 * 300)
    assert found.gradients == 4 * 250 + 4 * 400
    assert found.optimizer == 8 * 250 and found.teacher == 4000
    assert found.activations == estimate(LAYERED, [(3, 5)]).activations
    # HSDP: 2 groups of 2; in mixed precision what is gathered has 2 bytes; a sharded teacher
    found = estimate(LAYERED, [(3, 5)], teachers=[(LAYERED, True)], mixed=True, layout=Layout(ranks=4, shard=2))
    assert found.weights == 2000 + 2 * (400 + 2 * 300) == found.teacher
    assert found.gradients == 4 * 500 + 4 * 400 and found.optimizer == 8 * 500
    # an adapter: a tenth trains
    small = Size(1000, 100, 4000, 2, 8, 32, 4, layer=300)
    assert estimate(small, [(3, 5)], layout=Layout(4, 4)).gradients == 4 * 25 + 4 * 40
    assert held(LAYERED, Layout(), mixed=True) == 4000 + 2000


def test_layers_computed_again_keep_their_inputs_and_one_layer() -> None:
    assert activations(PLAIN, [(3, 5), (2, 4)], layers_again=True) == 2 * 4 * 8 * 23 + 15 * 136 * 4


def test_the_layouts_in_words() -> None:
    said = [str(layout) for layout in (Layout(), Layout(2), Layout(4, 4), Layout(4, 2))]
    assert said == ["one device", "ddp on 2 devices", "fsdp2 on 4 devices", "fsdp2 on 4 devices, replicate 2 x shard 2"]


@pytest.mark.parametrize("family", ["bert", "modernbert", "eurobert", "qwen3", "llama"])
@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_what_autograd_keeps_of_a_layer_is_near_the_formula(family: str, dropout: float) -> None:
    def kept(layers: int) -> tuple[int, Size]:
        backbone = _backbone(family, layers, dropout)
        weights = {p.untyped_storage().data_ptr() for p in backbone.parameters()}
        seen: dict[int, Any] = {}

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            if tensor.untyped_storage().data_ptr() not in weights:
                seen[tensor.untyped_storage().data_ptr()] = tensor
            return tensor

        ids = torch.randint(4, 90, (4, 48))
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            backbone(input_ids=ids, attention_mask=torch.ones_like(ids))
        return sum(tensor.untyped_storage().nbytes() for tensor in seen.values()), size_of(backbone)

    (two, size), (four, _) = kept(2), kept(4)
    assert activations(size, [(4, 48)]) == pytest.approx(four - two, rel=1 / 3)


def _backbone(family: str, layers: int, dropout: float) -> Any:
    from transformers import AutoConfig, AutoModel

    sizes: dict[str, Any] = {
        "vocab_size": 100,
        "hidden_size": 64,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
    }
    sizes |= {"intermediate_size": 192, "max_position_embeddings": 66, "pad_token_id": 0}
    sizes |= dict.fromkeys(("bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"), 1)
    if family in ("qwen3", "llama"):
        sizes |= {"num_key_value_heads": 4, "head_dim": 16}
    if family == "bert":
        sizes |= {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    config = AutoConfig.for_model(family, **sizes)
    config.use_cache = False
    return AutoModel.from_config(config).train()
