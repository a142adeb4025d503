"""What a run has trained on so far: rows, tokens, seconds and cut texts, across restarts."""

import time
from collections.abc import Sequence
from typing import Any

import torch

from lightning_embed.batch import TokenBatch
from lightning_embed.distributed.collectives import global_sum, rank


class TrainingCounts:
    """Counts what is trained on; its state goes into the checkpoint, so that a resumed run counts on."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.rows = self.tokens = 0
        self.cut: dict[str, tuple[int, int]] = {}
        """Source -> texts cut and tokens lost, on this rank."""
        self._since = 0.0

    def start(self) -> None:
        """Starts the clock."""
        self._since = time.perf_counter()

    def stop(self) -> None:
        """Stops the clock."""
        self.seconds, self._since = self.elapsed(), 0.0

    def elapsed(self) -> float:
        """Seconds of training so far."""
        return self.seconds + (time.perf_counter() - self._since if self._since else 0.0)

    def add(self, batch: TokenBatch, ranks: int) -> None:
        """Counts a batch.

        Args:
            batch: This rank's batch.
            ranks: How many ranks have one of about this size.
        """
        if batch.texts_cut:
            texts, lost = self.cut.get(batch.source, (0, 0))
            self.cut[batch.source] = (texts + batch.texts_cut, lost + batch.tokens_lost)
        self.rows += len(batch) * ranks
        self.tokens += batch.token_count * ranks

    def cut_on_all_ranks(self, sources: Sequence[str], device: torch.device) -> dict[str, tuple[int, int]]:
        """Source -> texts cut and tokens lost, over all ranks, each of which must call it.

        Args:
            sources: All training sources, in one order on every rank.
            device: This rank's device.
        """
        titles = list(dict.fromkeys(sources))
        mine = torch.tensor([self.cut.get(title, (0, 0)) for title in titles], device=device)
        every = global_sum(mine.reshape(-1, 2)).tolist()
        return {title: (texts, lost) for title, (texts, lost) in zip(titles, every, strict=True) if texts}

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps, but for `cut`, which needs all ranks."""
        return {"seconds": self.elapsed(), "rows": self.rows, "tokens": self.tokens}

    def load(self, state: dict[str, Any]) -> None:
        """Counts on from a checkpoint.

        Args:
            state: What `state` gave, and `cut` of all ranks, which rank 0 takes over.
        """
        self.seconds, self.rows, self.tokens = state["seconds"], state["rows"], state["tokens"]
        self.cut = dict(state["cut"]) if rank() == 0 else {}
