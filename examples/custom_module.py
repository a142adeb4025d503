"""A module of your own: python -m lightning_embed fit --model examples.custom_module.FrozenEmbeddings"""

from lightning_embed import EmbeddingModule


class FrozenEmbeddings(EmbeddingModule):
    """Trains the layers but freezes the word embeddings, which saves their gradient and optimizer memory."""

    def configure_optimizers(self) -> object:
        """Freezes the word embeddings before the optimizer sees them."""
        self.student.backbone.get_input_embeddings().requires_grad_(False)
        return super().configure_optimizers()
