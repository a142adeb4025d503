"""vLLM's rules, as its versions from 0.24 on and those up to 0.23 read a folder."""

from __future__ import annotations

from lightning_embed.export.older_readers import MODULES
from lightning_embed.export.readers.laid_out import LaidOut, dense_out_of_order

NAME = "vLLM from 0.24 on"
COMMAND = "vllm serve FOLDER --runner pooling"
MODELS = (
    "bert", "roberta", "xlm-roberta", "modernbert", "nomic_bert", "llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3_text", "phi3",
)  # fmt: skip
"""Architectures that it has a model of its own for."""
NEW = (
    "sentence_transformers.sentence_transformer.modules.pooling.Pooling",
    "sentence_transformers.base.modules.normalize.Normalize",
    "sentence_transformers.sentence_transformer.modules.normalize.Normalize",
    "sentence_transformers.base.modules.dense.Dense",
)
"""The names of modules that it knows beside the old ones."""
ACTIVATIONS = ("identity", "tanh", "relu", "gelu", "silu", "sigmoid")


def refuses(folder: LaidOut) -> str:
    """Why it does not read such a model at all; empty where it does.

    Args:
        folder: The folder.
    """
    kind = folder.architecture
    return "" if kind in MODELS else f"it has no model of its own for the architecture {kind}"


def differences(folder: LaidOut) -> list[str]:
    """What it would read otherwise than sentence-transformers; empty where it reads the folder as it is meant.

    Args:
        folder: A folder whose architecture it has.
    """
    found = [
        f"it does not know the module {module['type']}"
        for module, kind in zip(folder.modules, folder.kinds, strict=True)
        if kind != "Transformer" and module["type"] not in (MODULES + kind, *NEW)
    ]
    body = folder.body or {}
    positions = folder.config.get("max_position_embeddings")
    if not {"max_seq_length", "do_lower_case"} <= body.keys() and positions and folder.length not in (None, positions):
        found.append(
            f"it cuts texts at {positions:,} tokens, not {folder.length:,}: it reads max_seq_length beside do_lower_case alone"
        )
    for path, config in folder.dense:
        named = str(config.get("activation_function", "identity")).rpartition(".")[2].lower()
        if named not in ACTIVATIONS:
            found.append(f"it leaves out the Dense layers, for it does not know the activation of {path}, {named}")
    if folder.kinds[-1] != "Normalize":
        found.append("it gives vectors that are not of length 1")
    return found + dense_out_of_order(folder.kinds)


def remarks(folder: LaidOut) -> list[str]:
    """What earlier versions make of it.

    Args:
        folder: The folder.
    """
    named = all(module["type"] == MODULES + kind for module, kind in zip(folder.modules, folder.kinds, strict=True))
    if named and any(value is True for key, value in (folder.pooling or {}).items() if key.startswith("pooling_mode_")):
        return ["earlier versions too"]
    return ["up to 0.23 it pools as is usual for the architecture, whatever the folder says"]
