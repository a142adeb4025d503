"""The data plane: sources of rows, the plan of which rows are step k, and the DataModules that stream them as tokens."""

if __name__ != "lightning_embed.datamodules":
    raise ImportError(
        f"import lightning_embed.datamodules instead of {__name__}: the folder at the top is a link to it"
    )

from lightning_embed.datamodules.embedding_datamodule import EmbeddingDataModule
from lightning_embed.datamodules.python_docs import PythonDocs
from lightning_embed.datamodules.sources.source import Source

__all__ = ["EmbeddingDataModule", "PythonDocs", "Source"]
