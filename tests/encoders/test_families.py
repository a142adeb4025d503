"""Families of backbones that are none of the usual ones: what works, and what is refused at once, by name."""

from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_embed import TextEncoder, UserError
from lightning_embed.encoders.lora import Adapter
from lightning_embed.export.folder import export_encoder, verify_export
from tests.toys import toy_folder

SIZES = {"vocab_size": 204, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
USUAL = SIZES | {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, "max_position_embeddings": 66,
}  # fmt: skip
GPT = SIZES | {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 66}
BOTH = SIZES | {
    "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2, "decoder_attention_heads": 2,
    "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "max_position_embeddings": 66,
}  # fmt: skip
FAMILIES: dict[str, dict[str, Any]] = {
    "t5": SIZES | {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2},
    "m2m_100": BOTH,
    "bart": BOTH,
    "gpt2": GPT,
    "gptj": GPT | {"rotary_dim": 4},
    "opt": USUAL | {"ffn_dim": 64, "word_embed_proj_dim": 32},
    "bloom": SIZES | {"hidden_size": 32, "n_layer": 2, "n_head": 2},
    "xlnet": SIZES | {"d_model": 32, "n_layer": 2, "n_head": 2, "d_inner": 64},
    "nystromformer": USUAL,
    "albert": USUAL | {"embedding_size": 16},
    "longformer": USUAL | {"attention_window": 8},
    "mamba": SIZES | {"hidden_size": 32, "num_hidden_layers": 2},
}
TEXTS = ["w1 w2", "w3 w4 w5", " ".join(f"w{i}" for i in range(150))]


def made(tmp_path: Path, family: str) -> str:
    from transformers import AutoConfig, AutoModel

    folder = toy_folder(tmp_path / family)
    (folder / "model.safetensors").unlink()
    torch.manual_seed(0)
    AutoModel.from_config(AutoConfig.for_model(family, **FAMILIES[family])).save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("family", ["gpt2", "gptj", "opt", "bloom", "xlnet", "nystromformer", "bart"])
def test_a_family_embeds_texts_longer_than_its_positions_and_is_exported(tmp_path: Path, family: str) -> None:
    encoder = TextEncoder(made(tmp_path, family)).eval()
    assert encoder.encode(TEXTS).isfinite().all()
    export_encoder(encoder, tmp_path / "out")
    assert verify_export(encoder, tmp_path / "out", TEXTS) > 0.9999


@pytest.mark.parametrize("family", ["gpt2", "gptj", "opt", "nystromformer", "bart"])
def test_more_tokens_than_positions_are_refused(tmp_path: Path, family: str) -> None:
    with pytest.raises(UserError, match="max_length 67 is more than the 66 positions that it has"):
        TextEncoder(made(tmp_path, family), max_length=67)


@pytest.mark.parametrize("family", ["t5", "m2m_100"])
def test_an_encoder_decoder_is_refused_by_name(tmp_path: Path, family: str) -> None:
    with pytest.raises(UserError, match=f"{family} is an encoder-decoder, whose decoder needs an input of its own"):
        TextEncoder(made(tmp_path, family))


@pytest.mark.parametrize(
    ("family", "reason"),
    [
        ("gpt2", "GPT2Model has no torch.nn.Linear in its layers"),
        ("albert", "AlbertModel: its 2 layers are not modules of their own"),
        ("mamba", "adapter: peft cannot adapt it"),
    ],
)
def test_a_family_without_adapters_is_refused_by_name(tmp_path: Path, family: str, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        TextEncoder(made(tmp_path, family), adapter=Adapter(4))


def test_layers_of_a_family_with_a_setting_for_each(tmp_path: Path) -> None:
    encoder = TextEncoder(made(tmp_path, "longformer"), layers=[1])
    assert encoder.config.attention_window == [8] and encoder.encode(TEXTS).isfinite().all()
    with pytest.raises(UserError, match="layers: mamba cannot be built of 1 of its layers"):
        TextEncoder(made(tmp_path, "mamba"), layers=[0])
