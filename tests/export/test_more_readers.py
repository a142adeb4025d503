"""What llama.cpp, Ollama, Infinity, transformers.js and OpenVINO make of a folder, by their rules, and where it is written down."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lightning_embed.export.readers import by_rules, commands
from scripts.readers_table import table
from tests.export.test_older_readers import read, rewrite
from tests.export.test_readers import MEANT, exported

DOCS = Path(__file__).parents[2] / "docs/serving.md"


def lines(folder: Path) -> dict[str, str]:
    return {line.split()[0]: line for line in by_rules(folder)}


def test_what_to_know_of_a_cut_model_with_prompts(tmp_path: Path) -> None:
    found = lines(exported(tmp_path, dim=16, max_length=9, prompts={"query": "w1 "}))
    for name in ("llama.cpp", "Ollama", "Infinity", "OpenVINO"):
        assert MEANT in found[name]
    assert "keep the first 16 entries and rescale them; it does not cut texts at 9 tokens" in found["llama.cpp"]
    assert (
        'PARAMETER num_ctx 9 in the Modelfile, or it cuts texts at 66 tokens; ask for "dimensions": 16'
        in found["Ollama"]
    )
    assert all("put the prompt before the text" in found[name] for name in ("llama.cpp", "Ollama", "Infinity"))
    assert "it wants onnx/model.onnx" in found["transformers.js"]


@pytest.mark.parametrize(
    ("family", "pooling", "reader", "says"),
    [
        ("llama", "mean", "llama.cpp", "serve it with --pooling mean"),
        ("llama", "last_token", "llama.cpp", "it does not convert a tokenizer that gives texts an end token"),
        ("eurobert", "mean", "llama.cpp", "it does not convert with classifier_pooling late"),
        ("modernbert", "mean", "llama.cpp", "without layer_norm_eps"),
        ("mpnet", "mean", "llama.cpp", "no class MPNetModel"),
        ("qwen3", "last_token", "Ollama", "no class Qwen3Model"),
        ("bert", "last_token", "Ollama", "its pooling is none, not last_token"),
        ("modernbert", "mean", "OpenVINO", "no export of the architecture modernbert"),
    ],
)
def test_each_rule_speaks_of_the_family_it_concerns(
    tmp_path: Path, family: str, pooling: str, reader: str, says: str
) -> None:
    assert says in lines(exported(tmp_path, family, pooling=pooling))[reader]


def other_names(folder: Path) -> None:
    modules = read(folder, "modules.json")
    modules[1]["type"] = "sentence_transformers.sentence_transformer.modules.pooling.Pooling"
    (folder / "modules.json").write_text(json.dumps(modules))


def another_dense(folder: Path) -> None:
    rewrite(folder / "2_Dense/config.json", activation_function="torch.nn.modules.activation.Tanh")


def another_length(folder: Path) -> None:
    (folder / "onnx").mkdir()
    (folder / "onnx/model.onnx").touch()
    rewrite(folder / "tokenizer_config.json", model_max_length=12)


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        (other_names, {"Ollama": "it finds no pooling", "Infinity": "does not know the module"}),
        (another_dense, {"llama.cpp": "it leaves out the Dense layers", "Ollama": "it leaves out the Dense layers"}),
        (another_length, {"transformers.js": "it cuts texts at 12 tokens, not 9"}),
    ],
)
def test_what_a_reader_reads_otherwise_is_named(
    tmp_path: Path, change: Callable[[Path], object], wrong: dict[str, str]
) -> None:
    folder = exported(tmp_path, dim=16, max_length=9)
    change(folder)
    found = lines(folder)
    assert all("gives other vectors" in found[name] and says in found[name] for name, says in wrong.items())


def test_the_card_names_only_readers_that_read_it_as_it_is_meant(tmp_path: Path) -> None:
    named: Any = "\n".join(commands(exported(tmp_path, "eurobert")))
    assert "infinity_emb v2" in named and "llama-server" not in named and "vllm serve" not in named


def test_the_table_in_the_docs_is_what_the_script_prints() -> None:
    written = DOCS.read_text("utf-8").splitlines()
    assert [line for line in table(["bert", "llama"]) if line and line not in written] == []
