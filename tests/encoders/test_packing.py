"""Packed = padded = one by one, for every family, or refused with the difference."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import lightning_embed.encoders.packing.proof as proof
import lightning_embed.encoders.text_encoder as text_encoder
from lightning_embed.batch import Tokens
from lightning_embed.encoders.chunks import plan_chunks
from lightning_embed.encoders.packing.attention import NAME
from lightning_embed.encoders.packing.rows import plan_rows, positions
from lightning_embed.encoders.positions import first_position
from lightning_embed.encoders.text_encoder import TextEncoder
from lightning_embed.errors import UserError
from lightning_embed.export.folder import export_encoder, verify_export
from lightning_embed.heads import Pooling, pool, pool_packed
from lightning_embed.tokenizer import TextTokenizer
from tests.cli.test_fit import config, losses, refused, run
from tests.toys import FAMILIES, toy_folder

REFUSED = ("mpnet",)
PACKED = [family for family in FAMILIES if family not in REFUSED]
LENGTHS = [3, 40, 1, 17, 9, 26]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Toys whose attention matters: with the usual tiny weights it adds little, and a leak between texts would hardly show."""
    home = tmp_path_factory.mktemp("families")
    return {family: str(sharpen(toy_folder(home / family, family))) for family in FAMILIES}


def sharpen(folder: Path) -> Path:
    from safetensors.torch import load_file, save_file

    file = folder / "model.safetensors"
    weights = {key: value * 8 if value.ndim == 2 else value for key, value in load_file(file).items()}
    save_file(weights, file, metadata={"format": "pt"})
    return folder


def texts(lengths: list[int] = LENGTHS, seed: int = 0) -> Tokens:
    ids = torch.randint(4, 204, (sum(lengths),), generator=torch.Generator().manual_seed(seed))
    return Tokens(ids, torch.tensor(lengths))


def parts(encoder: TextEncoder) -> tuple[nn.Module, Callable[[Tensor, Tensor], Tensor], TextTokenizer]:
    return encoder.backbone, encoder.pool, encoder.tokenizer


def gradients(encoder: TextEncoder, vectors: Tensor) -> list[Tensor]:
    weights = torch.randn(vectors.shape, generator=torch.Generator().manual_seed(2))
    return list(torch.autograd.grad((vectors * weights).sum(), [p for p in encoder.parameters() if p.requires_grad]))


def one_by_one(encoder: TextEncoder, tokens: Tokens) -> Tensor:
    """The backbone as transformers means it to be called, without a line of the encoder's."""
    found = []
    for ids in tokens.ids.split(tokens.lengths.tolist()):
        hidden = encoder.backbone(input_ids=ids[None], attention_mask=torch.ones_like(ids[None])).last_hidden_state[0]
        found.append({"last_token": hidden[-1], "cls": hidden[0], "mean": hidden.mean(dim=0)}[encoder.pooling])
    return torch.stack(found)


@pytest.mark.parametrize("pooling", ["last_token", "mean", "cls"])
@pytest.mark.parametrize("family", PACKED)
def test_packed_padded_and_single_texts_have_the_same_vectors_and_gradients(
    folders: dict[str, str], family: str, pooling: Pooling
) -> None:
    encoder, tokens = TextEncoder(folders[family], pooling, dropout=0.0), texts()
    for training in (True, False):
        encoder.train(training)
        wanted = one_by_one(encoder, tokens)
        wanted_gradients = gradients(encoder, wanted)
        for packing, budget, chunks, layers in (
            ("on", 10_000, False, False),
            ("on", 30, False, False),  # the text of 40 is longer than the budget
            ("on", 50, True, False),
            ("on", 10_000, False, True),
            ("on", 50, True, True),
            ("off", 120, True, True),
            ("off", 1, False, False),
        ):
            encoder.packing, encoder.max_tokens, encoder.checkpoint_chunks = packing, budget, chunks  # type: ignore[assignment]
            backbone: Any = encoder.backbone
            backbone.gradient_checkpointing_enable() if layers else backbone.gradient_checkpointing_disable()
            got = encoder(tokens)
            torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(gradients(encoder, got), wanted_gradients, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("family", PACKED)
def test_the_proof_passes_and_leaves_the_encoder_as_it_was(folders: dict[str, str], family: str) -> None:
    encoder = TextEncoder(folders[family], "mean")
    encoder.backbone.get_submodule(
        next(n for n, m in encoder.backbone.named_modules() if isinstance(m, nn.Linear))
    ).eval()
    modes, state = [m.training for m in encoder.modules()], torch.get_rng_state()
    assert 0 < proof.packing_error(*parts(encoder)) < 1e-5 and proof.neighbour_error(*parts(encoder)) < 1e-6
    assert [m.training for m in encoder.modules()] == modes and torch.equal(torch.get_rng_state(), state)
    assert all(p.grad is None for p in encoder.parameters())


@pytest.mark.parametrize("family", REFUSED)
def test_a_backbone_that_cannot_be_packed_is_refused_with_the_difference(folders: dict[str, str], family: str) -> None:
    encoder = TextEncoder(folders[family], "mean", packing="on")
    with pytest.raises(
        UserError, match=r"^packing: on: .*MPNetModel.* differ by (\d\.\de[-+]\d+) .*at most 1e-04.*set packing: off$"
    ) as said:
        encoder(texts())
    assert float(re.search(r"differ by (\S+)", str(said.value))[1]) > 1e-3  # type: ignore[index]
    half = TextEncoder(folders[family], "mean", packing="on", dtype="bfloat16")
    with pytest.raises(UserError, match=r"differ by|neighbours change its vector by"):
        half(texts())


def test_an_attention_that_does_not_know_boundaries_is_refused(folders: dict[str, str]) -> None:
    with pytest.raises(UserError, match=r"LlamaModel, attention eager\).* differ by \d"):
        TextEncoder(folders["llama"], "mean", packing="on", attention="eager")(texts())


def test_auto_pads_on_the_cpu_and_packs_where_a_kernel_runs_and_the_proof_passes(
    folders: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for family, packs in (("llama", True), ("mpnet", False)):
        encoder, calls = TextEncoder(folders[family], "mean").eval(), []
        encoder.backbone.register_forward_pre_hook(
            lambda _, __, given, calls=calls: calls.append("cu_seq_lens_q" in given), with_kwargs=True
        )
        encoder(texts())
        assert not any(calls)
        with (
            monkeypatch.context() as patch,
            torch.autocast("cpu", torch.bfloat16),
        ):  # the CPU poses as a GPU with a kernel
            padded = encoder(texts())
            patch.setattr(text_encoder, "has_kernel", lambda *_: True)
            encoder(texts())
            calls.clear()
            torch.testing.assert_close(encoder(texts()), padded, rtol=0.02, atol=0.02)
            assert any(calls) == all(calls) == packs
        said = capsys.readouterr().err
        assert bool(re.search(r"note: packing: auto: .* differ by \d.* its texts are padded", said)) == (not packs)


def test_the_first_use_under_autocast_leaves_every_weight_its_gradient(folders: dict[str, str]) -> None:
    encoder = TextEncoder(folders["qwen3"], packing="on")
    with torch.inference_mode():  # as the sanity check before training
        encoder(texts())
    encoder.proven.clear()
    with torch.autocast("cpu", torch.bfloat16):
        proof.neighbour_error(*parts(encoder))  # casts without a gradient: autocast must not keep them
        encoder(texts()).sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in encoder.parameters() if p.requires_grad)


def test_dropout_is_drawn_alike_when_a_row_is_computed_again(folders: dict[str, str]) -> None:
    encoder = TextEncoder(folders["bert"], "mean", packing="on", dropout=0.3, max_tokens=60)
    encoder(texts())
    found = []
    for checkpointed in (False, True):
        encoder.checkpoint_chunks = checkpointed
        torch.manual_seed(0)
        vectors = encoder(texts())
        found.append([vectors, *gradients(encoder, vectors)])
    torch.testing.assert_close(found[1], found[0])
    assert not torch.allclose(found[0][0], encoder.eval()(texts()), atol=1e-2)


def test_no_texts_packed_give_no_vectors_with_a_whole_graph(folders: dict[str, str]) -> None:
    encoder = TextEncoder(folders["llama"], packing="on", checkpoint_chunks=True)
    nothing = encoder(texts([]))
    nothing.sum().backward()
    assert nothing.shape == (0, 32) and all(p.grad is not None for p in encoder.parameters() if p.requires_grad)


@pytest.mark.parametrize("packing", ["on", "off"])
def test_texts_of_one_length_are_encoded_without_a_mask_and_no_mask_is_large(
    folders: dict[str, str], packing: str
) -> None:
    encoder, sizes = TextEncoder(folders["eurobert"], "mean", packing=packing), []  # type: ignore[arg-type]
    encoder.eval()(texts())
    given: list[Any] = []
    for module, seen in ((encoder.backbone, given), (encoder.backbone.layers[0], sizes)):  # type: ignore[union-attr, index]
        module.register_forward_pre_hook(  # type: ignore[union-attr]
            lambda _, __, named, seen=seen: seen.append(named["attention_mask"]), with_kwargs=True
        )
    encoder(texts([50]))
    encoder(texts([30, 30]))
    encoder(texts([30, 29, 1]))
    assert [0 if mask is None else mask.numel() for mask in sizes] == ([1, 1, 1] if packing == "on" else [0, 0, 2700])
    assert [mask is None for mask in given] == [packing == "off", packing == "off", False]
    assert plan_chunks([32_768, 32_767, 16, 15], 10**6) == [slice(0, 1), slice(1, 2), slice(2, 4)]


def test_an_export_of_a_packed_encoder_is_a_plain_model(tmp_path: Path, folders: dict[str, str]) -> None:
    encoder = TextEncoder(folders["modernbert"], "mean", packing="on", max_length=30)
    encoder(texts())
    assert encoder.config._attn_implementation == NAME
    export_encoder(encoder, tmp_path / "out")
    assert NAME not in (tmp_path / "out/config.json").read_text()
    assert verify_export(encoder, tmp_path / "out", ["w1 w2 w3", "w4 " * 20, "w5"]) > 0.9999


def test_rows_hold_all_texts_within_the_budget() -> None:
    lengths = sorted([3, 100, 7, 64, 64, 5, 9, 300] * 4, reverse=True)
    rows = plan_rows(lengths, 256)
    assert [i for row in rows for i in range(row.start, row.stop)] == list(range(len(lengths)))
    assert [sum(lengths[row]) for row in rows if sum(lengths[row]) > 256] == [300] * 4
    assert all(sum(lengths[a]) + lengths[b.start] > 256 for a, b in pairwise(rows))
    assert plan_rows([3, 2, 2, 1], 4) == [slice(0, 1), slice(1, 3), slice(3, 4)] and plan_rows([], 256) == []


def test_positions_start_anew_with_each_text(folders: dict[str, str]) -> None:
    assert positions(torch.tensor([3, 1, 2])).tolist() == [0, 1, 2, 0, 0, 1]
    assert positions(torch.tensor([1, 2]), first=2).tolist() == [2, 2, 3]
    encoder = TextEncoder(folders["roberta"], "mean")
    assert first_position(encoder.backbone) == encoder.config.pad_token_id + 1
    assert first_position(TextEncoder(folders["bert"], "mean").backbone) == 0


@pytest.mark.parametrize("pooling", ["last_token", "mean", "cls"])
def test_pooling_of_a_packed_row_is_that_of_padded_rows(pooling: Pooling) -> None:
    lengths = torch.tensor([4, 1, 3])
    hidden = torch.randn(3, 4, 5, dtype=torch.float64)
    row = torch.cat([one[:n] for one, n in zip(hidden, lengths.tolist(), strict=True)])
    torch.testing.assert_close(pool_packed(row, lengths, pooling), pool(hidden, lengths, pooling))


class Highest(TextEncoder):
    """Pools by the greatest entry of all tokens."""

    def pool(self, hidden: Tensor, lengths: Tensor) -> Tensor:
        texts = (
            hidden.split(lengths.tolist())
            if hidden.dim() == 2
            else [h[:n] for h, n in zip(hidden, lengths, strict=True)]
        )
        return torch.stack([text.amax(dim=0) for text in texts])


def test_a_pooling_of_ones_own_serves_padded_and_packed_texts(folders: dict[str, str]) -> None:
    encoder, tokens = Highest(folders["llama"], dim=5, dropout=0.0), texts()
    wanted = [
        encoder.backbone(input_ids=ids[None]).last_hidden_state[0].amax(dim=0)[:5]
        for ids in tokens.ids.split(tokens.lengths.tolist())
    ]
    for packing in ("off", "on"):
        encoder.packing = packing  # type: ignore[assignment]
        torch.testing.assert_close(encoder(tokens), torch.stack(wanted), rtol=1e-5, atol=1e-5)


def test_fit_packed_has_the_losses_of_fit_padded(
    folders: dict[str, str], teacher: Path, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = {}
    for packing in ("on", "off"):
        job = config(teacher, Path(folders["llama"]), pairs, tmp_path / packing)
        run(job, tmp_path, "--report.enabled", "false", "--model.init_args.student.packing", packing)
        found[packing] = losses(tmp_path / packing)
    assert len(found["on"]) == 4 and found["on"][0] != found["on"][-1]
    assert found["on"] == pytest.approx(found["off"], rel=1e-4)
    job = config(teacher, Path(folders["mpnet"]), pairs, tmp_path / "refused")
    job["model"]["init_args"]["student"]["packing"] = True  # what YAML reads a bare `on` as
    said = refused(job, tmp_path, capsys, "--report.enabled", "false")
    assert (
        "packing: on: model" in said
        and re.search(r"differ by \d\.\de-\d\d", said)
        and said.endswith("set packing: off")
    )


LONG = """
import resource, sys, torch
from lightning_embed.batch import Tokens
from lightning_embed.encoders.text_encoder import TextEncoder
encoder = TextEncoder(sys.argv[1], "mean", random_init=True, max_length=32_768, packing=sys.argv[2])
lengths = torch.tensor([32_768, 20, 10])
optimizer = torch.optim.AdamW(encoder.parameters())
encoder(Tokens(torch.randint(4, 204, (int(lengths.sum()),)), lengths)).square().sum().backward()
optimizer.step()
assert all(p.grad.isfinite().all() for p in encoder.parameters())
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


@pytest.mark.slow
@pytest.mark.parametrize("packing", ["on", "off"])
@pytest.mark.parametrize("family", ["llama", "qwen3", "eurobert"])
def test_32768_tokens_train_in_4_gb(tmp_path: Path, family: str, packing: str) -> None:
    file = toy_folder(tmp_path / family, family, hidden=64) / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"max_position_embeddings": 32_768}))
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", LONG, str(file.parent), packing], cwd=root, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout.split()[-1]) < 4e9
