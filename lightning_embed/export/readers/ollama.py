"""Ollama's rules: its own converter of safetensors (convert/ in Go) and its /api/embed as of 0.33.0-rc2 (August 2026)."""

from __future__ import annotations

from lightning_embed.export.older_readers import MODULES
from lightning_embed.export.readers.laid_out import LaidOut

NAME = "Ollama 0.33"
COMMAND = "echo FROM ./FOLDER > Modelfile && ollama create student -f Modelfile"


def refuses(folder: LaidOut) -> str:
    """Why it does not read such a model at all; empty where it does.

    Args:
        folder: The folder.
    """
    name = folder.model_class
    if name == "BertModel":
        return ""
    return f"its own converter has no class {name}, or its rules for it were not read; give it a GGUF"


def differences(folder: LaidOut) -> list[str]:
    """What it would read otherwise than sentence-transformers; empty where it reads the folder as it is meant.

    Args:
        folder: A folder whose architecture it has.
    """
    found = []
    if not any(module["type"] == MODULES + "Pooling" for module in folder.modules):
        found.append("it finds no pooling, for it knows the module by its old name alone")
    else:
        config = folder.pooling or {}
        modes = (("mean", "pooling_mode_mean_tokens"), ("cls", "pooling_mode_cls_token"))
        read = next((mode for mode, key in modes if config.get(key)), "none")
        if read != folder.means.pooling:
            found.append(f"its pooling is {read}, not {folder.means.pooling}")
    if folder.means.lowercase:
        found.append("it does not lower-case texts")
    return found + folder.left_out


def remarks(folder: LaidOut) -> list[str]:
    """What to know where it reads the folder as it is meant.

    Args:
        folder: The folder.
    """
    found = []
    positions = folder.config.get("max_position_embeddings")
    if positions and folder.length not in (None, positions):
        found.append(f"PARAMETER num_ctx {folder.length} in the Modelfile, or it cuts texts at {positions:,} tokens")
    if folder.cut is not None:
        found.append(f'ask for "dimensions": {folder.cut}')
    if any(folder.means.prompts.values()):
        found.append("put the prompt before the text")
    return found
