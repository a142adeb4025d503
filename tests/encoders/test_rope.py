"""θ of the rotary positions: of training, of the exported model, and in the precision that long texts need."""

import json
from pathlib import Path

import pytest
import torch

from lightning_embed.encoders.copies import as_exported
from lightning_embed.encoders.text_encoder import TextEncoder
from lightning_embed.errors import UserError
from lightning_embed.export.folder import export_encoder, verify_export
from tests.toys import toy_folder

TEXTS = ["w1 w2 w3", "w4 w5 w6 w7 w8 w9 w10 w11 w12", "w9"]
ROTARY = ("qwen3", "llama", "eurobert", "modernbert")


def frequencies(encoder: TextEncoder) -> dict[str, torch.Tensor]:
    return {name: b for name, b in encoder.backbone.named_buffers() if "inv_freq" in name and "original" not in name}


@pytest.mark.parametrize("family", ROTARY)
def test_the_exported_model_has_another_theta_in_its_config_and_its_buffers(tmp_path: Path, family: str) -> None:
    folder = str(toy_folder(tmp_path / "m", family))
    encoder = TextEncoder(folder, "mean", rope_theta=1e4, export_rope_theta=1e6)
    before = {name: b.clone() for name, b in frequencies(encoder).items()}
    exported, direct = as_exported(encoder), TextEncoder(folder, "mean", rope_theta=1e6)
    exported.backbone.save_pretrained(tmp_path / "out")
    exported.tokenizer.hf.save_pretrained(tmp_path / "out")
    said = json.loads((tmp_path / "out" / "config.json").read_text())["rope_parameters"]
    assert 1e6 in (said.get("rope_theta"), said.get("full_attention", {}).get("rope_theta"))
    for one in (exported, TextEncoder(str(tmp_path / "out"), "mean")):
        for name, b in frequencies(one).items():
            torch.testing.assert_close(b, frequencies(direct)[name])
        torch.testing.assert_close(one.encode(TEXTS), direct.encode(TEXTS))
    for name, b in frequencies(encoder).items():  # training goes on as it was
        torch.testing.assert_close(b, before[name])
    assert any(not torch.equal(b, before[name]) for name, b in frequencies(exported).items())
    assert not torch.equal(encoder.encode(TEXTS), direct.encode(TEXTS))


@pytest.mark.slow
def test_the_exported_folder_is_proved_with_its_own_theta(tmp_path: Path) -> None:
    folder = str(toy_folder(tmp_path / "m", "qwen3"))
    encoder = TextEncoder(folder, rope_theta=1e4, export_rope_theta=1e6)
    export_encoder(encoder, tmp_path / "out")
    assert TextEncoder(str(tmp_path / "out")).config.rope_parameters["rope_theta"] == 1e6
    assert verify_export(encoder, tmp_path / "out", TEXTS) > 0.9999


def test_a_model_without_rotary_positions_refuses_another_theta(student: Path) -> None:
    with pytest.raises(UserError, match="export_rope_theta was given, but bert has no rotary positions"):
        TextEncoder(str(student), export_rope_theta=1e6)


@pytest.mark.parametrize("family", ROTARY)
@pytest.mark.parametrize("layers", [None, [0]])
def test_bf16_weights_leave_the_rotary_frequencies_in_float32(
    tmp_path: Path, family: str, layers: list[int] | None
) -> None:
    folder = str(toy_folder(tmp_path / "m", family))
    encoder = TextEncoder(folder, dtype="bfloat16", layers=layers, export_rope_theta=1e6)
    whole = TextEncoder(folder, layers=layers)
    for one in (encoder, as_exported(encoder)):
        assert {p.dtype for p in one.backbone.parameters()} == {torch.bfloat16}
        assert {b.dtype for b in frequencies(one).values()} == {torch.float32}
    for name, b in frequencies(encoder).items():
        torch.testing.assert_close(b, frequencies(whole)[name], rtol=0, atol=0)
