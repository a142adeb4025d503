"""What the teacher store has of a run's texts, and what it lacks."""

from lightning_embed.datamodules import EmbeddingDataModule
from lightning_embed.module import EmbeddingModule


def store_lines(module: EmbeddingModule, data: EmbeddingDataModule) -> list[str]:
    """What to say of the teacher store; nothing where none is used.

    Args:
        module: Knows the teacher.
        data: Knows the texts.
    """
    return []
