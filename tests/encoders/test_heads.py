"""Dense layers of sentence-transformers folders, before and after the pooling: read, trained, saved and exported with their encoder."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from lightning_embed import FrozenEncoder, TextEncoder, UserError
from lightning_embed.encoders.lora import Adapter
from lightning_embed.export.folder import export_encoder
from tests.cli.test_fit import config, run
from tests.toys import toy_folder

TEXTS = ["w1", "w2 w3 w4 w5 w6 w7 w8", "w9 w10", "w11 w12 w13 w14 w15 w16 w17"]
CHAINS: dict[str, tuple[int, int]] = {"gemma": (32, 24), "stella": (32, 40), "psi": (32, 48), "tokens": (20, 12)}
"""Kind of folder -> sizes of the pooled and of the final vectors."""


def dense_folder(folder: Path, kind: str, old_names: bool = False) -> Path:
    """A sentence-transformers folder with Dense modules, written by sentence-transformers."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling, Transformer

    body = Transformer(str(toy_folder(folder / "plain")), max_seq_length=20)
    torch.manual_seed(3)
    chains: dict[str, list[nn.Module]] = {
        "gemma": [Dense(32, 64, False, nn.Identity()), Dense(64, 24, False, nn.Identity()), Normalize()],
        "stella": [Dense(32, 40, True, nn.Identity())],
        "psi": [Normalize(), Dense(32, 48, True, nn.Tanh()), Normalize()],
        "tokens": [Normalize(), Dense(20, 12, True, nn.GELU())],
    }
    tokens = [Dense(32, 20, True, nn.SiLU(), module_input_name="token_embeddings")] if kind == "tokens" else []
    pooling = Pooling(20 if tokens else 32, "mean")
    SentenceTransformer(modules=[body, *tokens, pooling, *chains[kind]], device="cpu").save(str(folder / "st"))
    if old_names:
        file = folder / "st/modules.json"
        modules = json.loads(file.read_text())
        for module in modules:
            module["type"] = "sentence_transformers.models." + module["type"].rpartition(".")[2]
        file.write_text(json.dumps(modules))
        for dense in (folder / "st").glob("*_Dense/config.json"):  # older versions have no names of inputs
            kept = {k: v for k, v in json.loads(dense.read_text()).items() if not k.startswith("module_")}
            dense.write_text(json.dumps(kept))
    return folder / "st"


def by_sentence_transformers(folder: Path) -> torch.Tensor:
    from sentence_transformers import SentenceTransformer

    found = SentenceTransformer(str(folder), device="cpu").encode(TEXTS, convert_to_tensor=True)
    return nn.functional.normalize(found.float(), dim=-1)


@pytest.mark.parametrize(("kind", "old_names"), [*((kind, False) for kind in CHAINS), ("gemma", True), ("psi", True)])
def test_a_folder_with_dense_modules_gives_sentence_transformers_vectors_and_so_does_its_export(
    tmp_path: Path, kind: str, old_names: bool
) -> None:
    folder = dense_folder(tmp_path, kind, old_names)
    encoder, wanted = TextEncoder(str(folder)).eval(), by_sentence_transformers(folder)
    assert encoder.dim == CHAINS[kind][1] == wanted.shape[1]
    torch.testing.assert_close(encoder.encode(TEXTS), wanted, rtol=0, atol=1e-5)
    torch.testing.assert_close(FrozenEncoder(str(folder)).encode(TEXTS), wanted, rtol=0, atol=1e-5)
    export_encoder(encoder, tmp_path / "again")
    torch.testing.assert_close(by_sentence_transformers(tmp_path / "again"), wanted, rtol=0, atol=1e-5)
    again = TextEncoder(str(tmp_path / "again")).eval()
    torch.testing.assert_close(again.encode(TEXTS), wanted, rtol=0, atol=1e-5)


def test_truncation_acts_on_what_the_last_dense_gives(tmp_path: Path) -> None:
    folder = dense_folder(tmp_path, "gemma")
    encoder = TextEncoder(str(folder), dim=10).eval()
    wanted = nn.functional.normalize(by_sentence_transformers(folder)[:, :10], dim=-1)
    torch.testing.assert_close(encoder.encode(TEXTS), wanted, rtol=0, atol=1e-5)
    export_encoder(encoder, tmp_path / "short")
    torch.testing.assert_close(by_sentence_transformers(tmp_path / "short"), wanted, rtol=0, atol=1e-5)
    with pytest.raises(UserError, match="dim must be from 1 to 24, got 32"):
        TextEncoder(str(folder), dim=32)


@pytest.mark.parametrize("kind", ["gemma", "tokens"])
def test_packed_chunked_and_padded_texts_go_through_the_heads_alike(tmp_path: Path, kind: str) -> None:
    folder, found = str(dense_folder(tmp_path, kind)), []
    for packing, tokens, again in (("off", 16_384, False), ("off", 8, True), ("on", 12, False)):
        encoder = TextEncoder(folder, packing=packing, max_tokens=tokens, checkpoint_chunks=again).eval()  # type: ignore[arg-type]
        vectors = encoder(encoder.tokenizer(TEXTS)[0])
        gradients = torch.autograd.grad(vectors.square().sum(), list(encoder.heads.parameters()))
        found.append((vectors, *gradients))
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=1e-4, atol=1e-5)


def test_heads_train_with_a_student_are_saved_and_export_with_it(teacher: Path, pairs: Path, tmp_path: Path) -> None:
    from lightning_embed.checkpoints.student import load_student

    folder = dense_folder(tmp_path, "tokens")
    job = config(dense_folder(tmp_path / "t", "stella"), folder, pairs, tmp_path / "run")
    run(job, tmp_path)
    state = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    assert state["projection.weight"].shape == (40, 12)
    for name, file in (("student.token_heads.0", "1_Dense"), ("student.heads.1", "4_Dense")):
        before = load_file(folder / file / "model.safetensors")["linear.weight"]
        assert not torch.equal(state[f"{name}.linear.weight"], before)
    trained = load_student(tmp_path / "run/checkpoints/last.ckpt")
    torch.testing.assert_close(
        by_sentence_transformers(tmp_path / "run/model"), trained.encode(TEXTS), rtol=0, atol=1e-5
    )


def test_an_adapter_freezes_the_heads_and_leaves_them_out_of_its_checkpoint(tmp_path: Path) -> None:
    from lightning_embed import EmbeddingModule
    from lightning_embed.losses import InfoNCE

    student = TextEncoder(str(dense_folder(tmp_path, "gemma")), adapter=Adapter(rank=2))
    assert not any(p.requires_grad for p in student.heads.parameters())
    module = EmbeddingModule(student, {"info_nce": InfoNCE()})
    state = module.state_dict()
    assert not any("heads" in name for name in state)
    module.load_state_dict(state)


def test_other_weights_of_a_dense_make_another_teacher(tmp_path: Path) -> None:
    folder = dense_folder(tmp_path, "gemma")
    before = FrozenEncoder(str(folder)).identity()
    assert before == FrozenEncoder(str(folder)).identity()
    file = folder / "3_Dense/model.safetensors"
    save_file({"linear.weight": 2 * load_file(file)["linear.weight"]}, file)
    assert FrozenEncoder(str(folder)).identity() != before


MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"in_features": 31}, "3_Dense/config.json: in_features is 31, but the Dense in .*2_Dense gives vectors of 64"),
    ({"out_features": 25}, r"linear.weight must be of shape \(25, 64\), as config.json says; got \(24, 64\)"),
    ({"bias": True}, r"linear.bias must be of shape \(24,\), as config.json says; got None"),
    ({"activation_function": "os.system"}, "must be one of torch.nn's CELU, .*; got os.system"),
    ({"activation_function": "evil.Tanh"}, "got evil.Tanh"),
    ({"module_input_name": "token_embeddings"}, "after the Pooling must map sentence_embedding"),
    ({"use_residual": True}, "use_residual is not supported"),
    ({"in_features": None}, "expected the in_features and out_features of a Dense"),
]


@pytest.mark.parametrize(("change", "said"), MISTAKES)
def test_a_dense_that_does_not_fit_is_refused_in_one_line(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    folder = dense_folder(tmp_path, "gemma")
    file = folder / "3_Dense/config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(UserError, match=said) as error:
        TextEncoder(str(folder))
    assert "\n" not in str(error.value)


def test_a_dense_without_safetensors_weights_is_refused_in_one_line(tmp_path: Path) -> None:
    folder = dense_folder(tmp_path, "stella")
    (folder / "2_Dense/model.safetensors").rename(folder / "2_Dense/pytorch_model.bin")
    with pytest.raises(UserError, match="weights of a Dense module were expected there; pickled ones are not read"):
        TextEncoder(str(folder))
