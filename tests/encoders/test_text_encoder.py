from pathlib import Path

import pytest
import torch

from lightning_embed.batch import Tokens
from lightning_embed.encoders.chunks import plan_chunks
from lightning_embed.encoders.text_encoder import TextEncoder
from lightning_embed.errors import UserError
from lightning_embed.export.folder import export_encoder, verify_export
from tests.toys import CAUSAL, FAMILIES, toy_folder

TEXTS = ["w1", "w2 w3 w4 w5 w6 w7 w8", "w9 w10", "w11 w12 w13 w14 w15 w16 w17 w18 w19 w20 w21"]


@pytest.mark.parametrize(
    ("family", "pooling"), [(f, "last_token" if f in CAUSAL else "mean") for f in FAMILIES] + [("bert", "cls")]
)
def test_chunks_change_no_vector_and_no_gradient(tmp_path: Path, family: str, pooling: str) -> None:
    encoder = TextEncoder(str(toy_folder(tmp_path / "m", family)), pooling=pooling).eval()  # type: ignore[arg-type]
    tokens = encoder.tokenizer(TEXTS)[0]
    alone = torch.cat([encoder(encoder.tokenizer([text])[0]) for text in TEXTS])
    wanted = torch.autograd.grad(alone.square().sum(), [p for p in encoder.parameters() if p.requires_grad])
    for budget, checkpointed in ((10_000, False), (1, False), (16, True)):
        encoder.max_tokens, encoder.checkpoint_chunks = budget, checkpointed
        together = encoder(tokens)
        torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)
        got = torch.autograd.grad(together.square().sum(), [p for p in encoder.parameters() if p.requires_grad])
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)


def test_the_plan_covers_all_rows_within_the_budget() -> None:
    lengths = sorted([3, 100, 7, 64, 64, 5, 9, 30] * 8, reverse=True)
    chunks = plan_chunks(lengths, 256)
    assert [i for c in chunks for i in range(c.start, c.stop)] == list(range(len(lengths)))
    assert all((c.stop - c.start) * lengths[c.start] <= 256 for c in chunks)
    assert plan_chunks([500], 256) == [slice(0, 1)]


def test_no_rows_give_no_vectors_with_a_whole_graph(student: Path) -> None:
    encoder = TextEncoder(str(student))
    nothing = encoder(Tokens(torch.zeros(0, dtype=torch.long), torch.zeros(0, dtype=torch.long)))
    nothing.sum().backward()
    assert nothing.shape == (0, 32)
    assert all(p.grad is not None for p in encoder.parameters() if p.requires_grad)


def test_picked_layers_are_the_layers_of_the_whole(student: Path) -> None:
    whole, picked = TextEncoder(str(student)), TextEncoder(str(student), layers=[1])
    a, b = whole.backbone.encoder.layer[1].state_dict(), picked.backbone.encoder.layer[0].state_dict()
    assert all(torch.equal(a[key], b[key]) for key in a) and picked.config.num_hidden_layers == 1
    with pytest.raises(UserError, match="indices from 0 to 1"):
        TextEncoder(str(student), layers=[2])


@pytest.mark.parametrize("family", FAMILIES)
def test_a_cut_backbone_of_any_family_is_saved_and_loaded_as_it_is(tmp_path: Path, family: str) -> None:
    cut = TextEncoder(str(toy_folder(tmp_path / "m", family, layers=4)), pooling="mean", layers=[0, 3])
    cut.backbone.save_pretrained(tmp_path / "cut")
    cut.tokenizer.hf.save_pretrained(tmp_path / "cut")
    again = TextEncoder(str(tmp_path / "cut"), pooling="mean", max_length=cut.tokenizer.max_length)
    torch.testing.assert_close(again.encode(TEXTS), cut.encode(TEXTS), rtol=1e-5, atol=1e-5)


def test_last_token_texts_end_with_the_end_token_and_cuts_are_counted(tmp_path: Path) -> None:
    encoder = TextEncoder(str(toy_folder(tmp_path / "m", "qwen3")), pooling="last_token", max_length=4)
    tokens, cut, lost = encoder.tokenizer(["w1 w2 w3 w4 w5", "w1"])
    assert tokens.lengths.tolist() == [4, 2] and tokens.ids[[3, 5]].tolist() == [3, 3] and (cut, lost) == (1, 2)


def test_a_call_of_the_tokenizer_that_pads_changes_no_vector_afterwards(student: Path) -> None:
    encoder = TextEncoder(str(student), max_length=6).eval()
    texts = ["w1", "w2 w3", "w4 w5 w6 w7 w8 w9"]
    before, pieces = encoder.encode(texts), encoder.tokenizer.pieces(texts[2])
    encoder.tokenizer.hf(texts, padding="max_length", truncation=True, max_length=4)
    assert torch.equal(encoder.encode(texts), before)
    encoder.tokenizer.hf(texts, padding=True)
    assert encoder.tokenizer.pieces(texts[2]) == pieces and torch.equal(encoder.encode(texts), before)


def test_rope_theta_reaches_the_rotary_buffers(tmp_path: Path) -> None:
    folder = str(toy_folder(tmp_path / "m", "qwen3"))
    frequencies = [TextEncoder(folder, rope_theta=t).backbone.rotary_emb.inv_freq for t in (1e4, 1e6)]
    assert frequencies[0][1] > frequencies[1][1]
    with pytest.raises(UserError, match="no rotary positions"):
        TextEncoder(str(toy_folder(tmp_path / "b")), rope_theta=1e4)


@pytest.mark.parametrize(("family", "pooling"), [("bert", "mean"), ("modernbert", "cls"), ("qwen3", "last_token")])
def test_the_exported_folder_gives_the_same_vectors_in_a_new_process(tmp_path: Path, family: str, pooling: str) -> None:
    prompts = {"query": "w1 w2 ", "document": "w3 "}
    encoder = TextEncoder(str(toy_folder(tmp_path / "m", family)), pooling, prompts, max_length=8)  # type: ignore[arg-type]
    export_encoder(encoder, tmp_path / "out")
    assert verify_export(encoder, tmp_path / "out", TEXTS) > 0.9999


def test_a_folder_without_weights_is_named(tmp_path: Path, student: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "config.json").write_text((student / "config.json").read_text())
    with pytest.raises(UserError, match=r"weights were expected as \*\.safetensors"):
        TextEncoder(str(tmp_path / "m"))
