"""What training logs of its losses: the mean of each since the last log, over all ranks."""

from collections.abc import Mapping

import torch
from torch import Tensor

from lightning_embed.distributed.collectives import global_sum, world_size


class LossLog:
    """Sums loss values until they are logged, so that the curve of a loss is of all its steps and not of every tenth.

    With several sources a batch of one of them may have other losses than that of another: a mean is over the batches that had the loss.
    """

    def __init__(self) -> None:
        self._sums: dict[tuple[str, str], Tensor] = {}
        self._counts: dict[tuple[str, str], int] = {}
        self._sources: set[str] = set()

    def add(self, source: str, values: Mapping[str, Tensor]) -> None:
        """Adds the values of a batch.

        Args:
            source: The batch's source, the same on every rank.
            values: Name -> scalar.
        """
        self._sources.add(source)
        for name, value in values.items():
            key = name, source
            self._sums[key] = value.detach() + self._sums.get(key, 0.0)
            self._counts[key] = self._counts.get(key, 0) + 1

    def means(self) -> dict[str, float]:
        """`NAME` -> mean, and `SOURCE/NAME` where there are several sources; empty where nothing was added. Every rank must call it."""
        if not self._sums:
            return {}
        sums = (global_sum(torch.stack([value.float() for value in self._sums.values()])) / world_size()).tolist()
        found: dict[str, float] = {}
        for name in dict.fromkeys(name for name, _ in self._sums):
            parts = [(key, total) for key, total in zip(self._sums, sums, strict=True) if key[0] == name]
            found[name] = sum(total for _, total in parts) / sum(self._counts[key] for key, _ in parts)
        if len(self._sources) > 1:
            found |= {
                f"{source}/{name}": total / self._counts[name, source]
                for (name, source), total in zip(self._sums, sums, strict=True)
            }
        return found

    def clear(self) -> None:
        """Begins again, after a log."""
        self._sums, self._counts = {}, {}
