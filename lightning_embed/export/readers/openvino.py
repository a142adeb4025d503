"""OpenVINO's rules: sentence-transformers 6.2 with backend="openvino", which optimum-intel 2.2 converts for."""

from __future__ import annotations

from lightning_embed.export.readers.laid_out import LaidOut

NAME = "OpenVINO (optimum-intel 2.2)"
COMMAND = "SentenceTransformer('FOLDER', backend='openvino')"
MODELS = ("bert", "roberta", "xlm-roberta", "distilbert", "mpnet", "qwen3", "llama")
"""Architectures that optimum-intel 2.2 exports for feature extraction, of those that were looked up."""


def refuses(folder: LaidOut) -> str:
    """Why it does not read such a model at all; empty where it does.

    Args:
        folder: The folder.
    """
    kind = folder.architecture
    return "" if kind in MODELS else f"optimum has no export of the architecture {kind}, or it was not looked up"


def differences(folder: LaidOut) -> list[str]:
    """What it would read otherwise: nothing, for all but the backbone is sentence-transformers' own.

    Args:
        folder: A folder whose architecture it has.
    """
    return []


def remarks(folder: LaidOut) -> list[str]:
    """What to know where it reads the folder as it is meant.

    Args:
        folder: The folder.
    """
    return ["optimum-intel 2.2 needs a transformers below 5.6"]
