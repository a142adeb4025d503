"""Infinity's rules: its torch engine as of 0.0.78 (October 2026), which loads folders with sentence-transformers 3.

Its rules on modules and pooling follow what sentence-transformers 5.3 refused when it was run; the source of version 3 was not read.
"""

from __future__ import annotations

from lightning_embed.export.older_readers import MODULES
from lightning_embed.export.readers.laid_out import LaidOut

NAME = "Infinity 0.0.78"
COMMAND = "infinity_emb v2 --model-id FOLDER --engine torch --dtype float32"
YOUNG = ("eurobert", "modernbert", "qwen3")
"""Architectures younger than sentence-transformers 3, which come with transformers."""


def refuses(folder: LaidOut) -> str:
    """Why it does not read such a model at all; empty where it does.

    Args:
        folder: The folder.
    """
    return "" if folder.config.get("architectures") else "it wants a transformer, with architectures in config.json"


def differences(folder: LaidOut) -> list[str]:
    """What it would not start with, or read otherwise than sentence-transformers; empty where it reads the folder as it is meant.

    Args:
        folder: A folder whose architecture it has.
    """
    found = [
        f"sentence-transformers 3 does not know the module {module['type']}"
        for module, kind in zip(folder.modules, folder.kinds, strict=True)
        if module["type"] != MODULES + kind
    ]
    if folder.pooling is not None and "word_embedding_dimension" not in folder.pooling:
        found.append("sentence-transformers 3 does not read 1_Pooling/config.json without word_embedding_dimension")
    return found


def remarks(folder: LaidOut) -> list[str]:
    """What to know where it reads the folder as it is meant.

    Args:
        folder: The folder.
    """
    found = ["it needs a transformers that has the architecture"] if folder.architecture in YOUNG else []
    if any(folder.means.prompts.values()):
        found.append("put the prompt before the text")
    return found
