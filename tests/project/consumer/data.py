"""A hand-written DataModule whose batches an EmbeddingModule trains on."""

from collections.abc import Sequence

import lightning.pytorch as L
import torch
from torch.utils.data import DataLoader

from lightning_embed import TextTokenizer, TokenBatch, Tokens
from lightning_embed.batch import text_key


class Pairs(L.LightningDataModule):
    """Pairs of a question and its answer, kept in memory."""

    def __init__(self, pairs: Sequence[tuple[str, str]], tokenizer: TextTokenizer, batch_size: int = 32) -> None:
        super().__init__()
        self.pairs, self.tokenizer, self.batch_size = list(pairs), tokenizer, batch_size

    def collate(self, pairs: list[tuple[str, str]]) -> TokenBatch:
        columns = {"anchor": [anchor for anchor, _ in pairs], "positive": [positive for _, positive in pairs]}
        prompts = {"anchor": "query", "positive": "document"}
        student: dict[str, Tokens] = {}
        for role, texts in columns.items():
            student[role], _, _ = self.tokenizer(texts, prompts[role])
        keys = {role: torch.tensor([text_key(text) for text in texts]) for role, texts in columns.items()}
        return TokenBatch(student=student, keys=keys, source="pairs")

    def train_dataloader(self) -> DataLoader[tuple[str, str]]:
        return DataLoader(self.pairs, self.batch_size, shuffle=True, collate_fn=self.collate)  # type: ignore[arg-type]
