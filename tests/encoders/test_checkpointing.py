"""Activation checkpointing, of chunks and of layers: the same gradient, dropout and autocast replayed."""

from pathlib import Path

import pytest
import torch

from lightning_embed.encoders.text_encoder import TextEncoder
from tests.toys import toy_folder

TEXTS = ["w1", "w2 w3 w4 w5 w6 w7 w8", "w9 w10", "w11 w12 w13 w14 w15 w16 w17 w18 w19 w20 w21"]


def gradient(folder: Path, half: bool, chunks: bool, layers: bool) -> tuple[int, list[torch.Tensor]]:
    """Calls of the first layer, and the gradients of a step with dropout."""
    encoder = TextEncoder(
        str(folder), "mean", dropout=0.2, max_tokens=16, checkpoint_chunks=chunks, checkpoint_layers=layers
    )
    calls: list[int] = []
    first = next(m for name, m in encoder.backbone.named_modules() if name.endswith("layers.0.mlp"))
    first.register_forward_pre_hook(lambda *_: calls.append(1))
    torch.manual_seed(3)
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        vectors = encoder(encoder.tokenizer(TEXTS)[0])
    (vectors.float() * torch.linspace(-1, 1, vectors.shape[1])).sum().backward()
    return len(calls), [p.grad for p in encoder.parameters() if p.grad is not None]


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("family", ["qwen3", "modernbert"])
def test_what_is_computed_again_is_what_it_was(tmp_path: Path, family: str, half: bool) -> None:
    folder = toy_folder(tmp_path / "m", family)
    calls, wanted = gradient(folder, half, chunks=False, layers=False)
    for chunks, layers in ((True, False), (False, True), (True, True)):
        again, found = gradient(folder, half, chunks, layers)
        assert again >= 2 * calls  # checkpointing was on
        torch.testing.assert_close(found, wanted, rtol=0, atol=0)
