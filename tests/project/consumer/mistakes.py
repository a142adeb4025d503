"""Mistakes that a type checker must find: those on the lines that end so, and no others."""

import lightning_embed
from lightning_embed import (
    EmbeddingDataModule,
    EmbeddingModule,
    InfoNCE,
    LossTerm,
    Source,
    TextEncoder,
    evaluate,
    examine,
    quantize,
)

encoder = TextEncoder("model", pooling="mean", layers=[0, 1])
TextEncoder("model", pooling="median")  # error
TextEncoder("model", prompt={})  # error
EmbeddingModule(encoder, {"nce": LossTerm(InfoNCE(temperature=0.05))})
EmbeddingModule(encoder, {"nce": "InfoNCE"})  # error
LossTerm(InfoNCE(), weight="high")  # error
Source("rows.jsonl", task="translation")  # error
EmbeddingDataModule(3)  # error
evaluate(["model"], tasks="STSBenchmark")  # error
examine(encoder, encoder)  # error
quantize([[0.1]], "model", "int4")  # error
print(lightning_embed.EmbedingModule)  # error
