"""What other readers make of a folder, by their rules."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lightning_embed import TextEncoder, UserError
from lightning_embed.export.folder import export_encoder
from lightning_embed.export.readers import by_rules
from tests.commands import run_words
from tests.export.test_older_readers import read, rewrite
from tests.toys import toy_folder

MEANT = "reads it as it is meant, by its rules (not run"


def exported(tmp_path: Path, family: str = "bert", **settings: Any) -> Path:
    encoder = TextEncoder(str(toy_folder(tmp_path / family, family)), **settings).eval()
    export_encoder(encoder, tmp_path / "out")
    return tmp_path / "out"


@pytest.mark.parametrize("settings", [{}, {"dim": 16, "max_length": 9, "prompts": {"query": "w1 "}}])
@pytest.mark.parametrize(
    ("family", "pooling"),
    [("bert", "mean"), ("roberta", "cls"), ("modernbert", "mean"), ("qwen3", "last_token"), ("llama", "mean")],
)
def test_servers_read_an_exported_folder_as_it_is_meant(
    tmp_path: Path, family: str, pooling: str, settings: dict[str, Any]
) -> None:
    inference, vllm, *_ = by_rules(exported(tmp_path, family, pooling=pooling, **settings))
    assert MEANT in inference and MEANT in vllm and vllm.endswith("earlier versions too).")
    assert ("prompts by prompt_name" in inference) == ("prompts" in settings)
    assert ("on CUDA alone" in inference) == (family == "llama")


def test_a_server_without_the_architecture_is_named(tmp_path: Path) -> None:
    inference, vllm, *_ = by_rules(exported(tmp_path, "mpnet"))
    assert MEANT in inference and "not for this model: it has no model of its own for the architecture mpnet" in vllm
    shutil.rmtree(tmp_path / "out")
    for line in by_rules(exported(tmp_path, "eurobert"))[:2]:
        assert "not for this model" in line and "eurobert" in line


def the_newest_saves_it(folder: Path) -> None:
    from sentence_transformers import SentenceTransformer

    SentenceTransformer(str(folder), device="cpu").save(str(folder.with_name("saved")))
    shutil.rmtree(folder)
    folder.with_name("saved").rename(folder)


def other_layers(folder: Path) -> None:
    rewrite(folder / "config.json", layer_types=["sliding_attention", "full_attention"], global_attn_every_n_layers=2)


def activated(folder: Path) -> None:
    rewrite(folder / "2_Dense/config.json", activation_function="torch.nn.modules.activation.LeakyReLU")


@pytest.mark.parametrize(
    ("family", "change", "inference", "vllm"),
    [
        (
            "bert",
            the_newest_saves_it,
            "does not start without pooling_mode_cls_token and pooling_mode_mean_tokens in 1_Pooling/config.json; it does not start "
            "without max_seq_length in sentence_bert_config.json; it leaves out the Dense layers",
            "it cuts texts at 66 tokens, not 9",
        ),
        ("modernbert", other_layers, "it takes layers 0, 2, 4 ... for those of global attention", MEANT),
        (
            "bert",
            lambda folder: rewrite(folder / "sentence_bert_config.json", do_lower_case=True),
            "it does not lower-case texts",
            MEANT,
        ),
        (
            "bert",
            lambda folder: (folder / "sentence_bert_config.json").unlink(),
            "it cuts texts at 66 tokens, not 9",
            "it cuts texts at 66 tokens, not 9",
        ),
        (
            "bert",
            activated,
            "it does not know the activation of 2_Dense, torch.nn.modules.activation.LeakyReLU",
            "it leaves out the Dense layers, for it does not know the activation of 2_Dense, leakyrelu",
        ),
        (
            "bert",
            lambda folder: (folder / "tokenizer.json").unlink(),
            "it does not start without tokenizer.json",
            MEANT,
        ),
        (
            "bert",
            lambda folder: (folder / "modules.json").write_text(json.dumps(read(folder, "modules.json")[:-1])),
            MEANT,
            "it gives vectors that are not of length 1",
        ),
    ],
)
def test_what_a_server_reads_otherwise_is_named(
    tmp_path: Path, family: str, change: Callable[[Path], object], inference: str, vllm: str
) -> None:
    folder = exported(tmp_path, family, dim=16, max_length=9)
    change(folder)
    found = by_rules(folder)
    assert inference in found[0] and vllm in found[1]


def test_a_folder_is_checked_by_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_words("export", "--check", str(exported(tmp_path, prompts={"query": "w1 "})))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [
        "sentence-transformers",
        "text-embeddings-inference",
        "vLLM",
        "llama.cpp",
        "Ollama",
        "Infinity",
        "transformers.js",
        "OpenVINO",
    ]
    assert "equal to lightning_embed (run; least cosine 1.000000" in lines[0]
    with pytest.raises(SystemExit):
        run_words("export", "--check", str(tmp_path / "bert"))
    assert "expected the folder of a sentence-transformers model, with a modules.json" in capsys.readouterr().err
    with pytest.raises(UserError, match="its module CNN is not supported"):
        modules = read(tmp_path / "out", "modules.json")
        (tmp_path / "out/modules.json").write_text(json.dumps([*modules, modules[0] | {"type": "x.CNN"}]))
        by_rules(tmp_path / "out")
