"""lightning_embed: distils a large frozen embedding model into a compact one, with PyTorch Lightning.

The public names are loaded when they are first used, so that importing the package costs nothing.
"""

from importlib import import_module
from typing import Any

__version__ = "0.2.0"

_HOME = {
    "EmbeddingBatch": "batch",
    "EmbeddingDataModule": "datamodules",
    "EmbeddingLoss": "losses",
    "EmbeddingModule": "module",
    "FrozenEncoder": "encoders.teacher",
    "LossTerm": "losses",
    "Projection": "heads",
    "PythonDocs": "datamodules",
    "Source": "datamodules",
    "StoredTeacher": "encoders.teacher",
    "TextEncoder": "encoders.text_encoder",
    "UserError": "errors",
}

__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
