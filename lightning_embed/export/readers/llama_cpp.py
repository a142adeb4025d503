"""llama.cpp's rules: convert_hf_to_gguf.py and llama-server as of commit 0c1e57098 (October 2026)."""

from __future__ import annotations

from lightning_embed.export.readers.laid_out import LaidOut

NAME = "llama.cpp (October 2026)"
COMMAND = "python convert_hf_to_gguf.py FOLDER --outfile model.gguf && llama-server -m model.gguf --embedding"
CLASSES = (
    "BertModel",
    "DistilBertModel",
    "RobertaModel",
    "XLMRobertaModel",
    "ModernBertModel",
    "EuroBertModel",
    "Qwen2Model",
    "Qwen3Model",
    "LlamaModel",
)
"""The backbones of its converter whose rules were read; it goes by the first of `architectures`."""
EPSILONS = ("layer_norm_eps", "layer_norm_epsilon", "norm_epsilon")
"""Where it looks for ModernBERT's ε: not in `norm_eps`."""


def refuses(folder: LaidOut) -> str:
    """Why it does not read such a model at all; empty where it does.

    Args:
        folder: The folder.
    """
    name = folder.model_class
    return "" if name in CLASSES else f"its converter has no class {name}, or its rules for it were not read"


def differences(folder: LaidOut) -> list[str]:
    """What it would not convert, or read otherwise than sentence-transformers; empty where it reads the folder as it is meant.

    Args:
        folder: A folder whose architecture it has.
    """
    config, found = folder.config, []
    if folder.architecture == "modernbert" and not any(key in config for key in EPSILONS):
        found.append("it does not load the GGUF without layer_norm_eps in config.json, beside norm_eps")
    default = "late" if folder.architecture == "eurobert" else "cls"  # transformers fills it in
    pooling = config.get("classifier_pooling", default)
    if folder.architecture != "llama" and pooling not in ("cls", "mean"):
        found.append(
            f"it does not convert with classifier_pooling {pooling} in config.json; cls or mean, it has no effect here"
        )
    if folder.architecture == "llama" and folder.means.pooling == "last_token":
        found.append("it does not convert a tokenizer that gives texts an end token of its own")
    if folder.means.lowercase:
        found.append("it does not lower-case texts")
    return found + folder.left_out


def remarks(folder: LaidOut) -> list[str]:
    """What to know where it reads the folder as it is meant.

    Args:
        folder: The folder.
    """
    found = ["its converter refuses tokenizers that it does not list: a published model's, unchanged"]
    if folder.architecture == "llama":
        kind = "last" if folder.means.pooling == "last_token" else folder.means.pooling
        found.append(f"serve it with --pooling {kind}")
    if folder.cut is not None:
        found.append(f"keep the first {folder.cut:,} entries and rescale them")
    if folder.length is not None:
        found.append(f"it does not cut texts at {folder.length:,} tokens")
    if any(folder.means.prompts.values()):
        found.append("put the prompt before the text")
    return found
