"""A training step, ours against sentence-transformers': the same student, texts, steps and losses, each by its own trainer.

    python benchmarks/training.py           # with the sizes of docs/performance.md
    python benchmarks/training.py --quick   # smaller

Both trainers run at once, each in a process of its own, and take their steps in turn. Dropout is off, so that the losses must be equal:
a run that does not do the same work does not count.
"""

import argparse
import json
import statistics
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from common import MODEL, Ratio, Turn, in_turn, paired_ratio, write_pairs

SAME = 1e-3
"""The most that losses may differ, relatively: rounding, after the weights have changed by a few steps of it."""


@dataclass(frozen=True)
class Job:
    """What is trained."""

    work: str
    batch: int
    median: int = 64
    longest: int = 512
    chunk: int = 0
    """Texts of a chunk of GradCache; 0: none."""
    steps: int = 3
    rows: int = 0
    """Rows of the data; 0: as many as the steps need."""
    packing: str = "auto"

    @property
    def pairs(self) -> int:
        """Rows to write."""
        return max(self.rows, self.batch * (self.steps + 3))


def data_of(folder: Path, job: Job) -> Any:
    """Our data module of the job's pairs."""
    from lightning_embed.datamodules import EmbeddingDataModule, Source

    return EmbeddingDataModule(
        train=[Source(str(folder / "pairs.jsonl"))], global_batch_size=job.batch, num_workers=0,
        teacher_store=str(folder / "store"),
    )  # fmt: skip


def ours(folder: Path, job: Job) -> None:
    """Trains with Lightning."""
    import lightning.pytorch as L
    import torch

    from lightning_embed import EmbeddingModule, TextEncoder
    from lightning_embed.losses import Distillation, InfoNCE, LossTerm
    from lightning_embed.teacher import FrozenEncoder, StoredTeacher

    class Gate(L.Callback):
        def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
            self.turn = Turn()
            self.turn.over()
            self.since = time.perf_counter()

        def on_train_batch_end(
            self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
        ) -> None:
            seconds = time.perf_counter() - self.since
            self.turn.over(seconds=seconds, loss=float(outputs["loss"]), tokens=batch.token_count)
            self.since = time.perf_counter()

    budget = job.chunk * job.median * 3 // 2 if job.chunk else 16_384  # about the tokens of so many texts
    student = TextEncoder(
        MODEL, max_length=512, dropout=0.0, checkpoint_chunks=bool(job.chunk), max_tokens=budget, packing=job.packing  # type: ignore[arg-type]
    )  # fmt: skip
    teacher: Any = None
    if job.work == "distillation":
        teacher = StoredTeacher("benchmark", 384)
    if job.work.startswith("teacher"):
        teacher = FrozenEncoder(str(folder / "teacher"), max_length=512, pooling="mean")
    loss = Distillation(metric="mse") if job.work == "distillation" else InfoNCE(0.05, mask_same_text=False)
    projection = None
    if job.work.startswith("teacher"):
        from lightning_embed.heads import Projection

        loss, projection = Distillation(), Projection()
    torch.manual_seed(0)
    module = EmbeddingModule(
        student, {"loss": LossTerm(loss)}, teacher, projection,
        optimizer=lambda groups: torch.optim.AdamW(groups, lr=1e-5, weight_decay=0.01, fused=True),
    )  # fmt: skip
    data = data_of(folder, job)
    if job.work == "teacher online":
        data.teacher_store = "off"
    trainer = L.Trainer(
        max_steps=job.steps + 2, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, limit_val_batches=0, gradient_clip_val=1.0, callbacks=[Gate()],
    )  # fmt: skip
    trainer.fit(module, datamodule=data)


def theirs(folder: Path, job: Job) -> None:
    """Trains with sentence-transformers, which reads the rows in the same order."""
    import torch
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from sentence_transformers.sentence_transformer import losses
    from torch.utils.data import BatchSampler, SequentialSampler
    from transformers import TrainerCallback

    from lightning_embed.pretrained import locate

    off = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    model = SentenceTransformer(str(locate(MODEL)), device="cpu", config_kwargs=off)
    model.max_seq_length = 512
    columns: dict[str, Any] = json.loads((folder / "ordered.json").read_text())
    loss: torch.nn.Module
    if job.work == "distillation":
        loss = losses.MSELoss(model)
        columns["label"] = torch.load(folder / "vectors.pt", weights_only=True).tolist()
    elif job.chunk:
        loss = losses.CachedMultipleNegativesRankingLoss(model, scale=20.0, mini_batch_size=job.chunk)
    else:
        loss = losses.MultipleNegativesRankingLoss(model, scale=20.0)
    seen: list[float] = []
    loss.register_forward_hook(lambda _, __, value: seen.append(float(value)))

    class Gate(TrainerCallback):
        def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
            self.turn = Turn()
            self.turn.over()
            self.since = time.perf_counter()

        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            seconds = time.perf_counter() - self.since
            self.turn.over(seconds=seconds, loss=seen[-1])
            self.since = time.perf_counter()

    args = SentenceTransformerTrainingArguments(
        str(folder / "theirs"), max_steps=job.steps + 2, per_device_train_batch_size=job.batch, learning_rate=1e-5, weight_decay=0.01,
        max_grad_norm=1.0, lr_scheduler_type="constant", use_cpu=True, report_to="none", save_strategy="no", logging_strategy="no",
        disable_tqdm=True, dataloader_pin_memory=False, optim="adamw_torch_fused",
        batch_sampler=lambda dataset, batch_size, drop_last, **_: BatchSampler(SequentialSampler(dataset), batch_size, drop_last),  # type: ignore[arg-type]
    )  # fmt: skip
    SentenceTransformerTrainer(model, args, Dataset.from_dict(columns), loss=loss, callbacks=[Gate()]).train()


def prepare(folder: Path, job: Job) -> None:
    """Writes the pairs, the same pairs in the order in which our plan reads them, and what the teacher gives for them."""
    import torch

    from lightning_embed.caching import CacheTrainer
    from lightning_embed.module import EmbeddingModule
    from lightning_embed.store_tools import import_vectors

    write_pairs(folder / "pairs.jsonl", job.pairs, job.median, job.longest)
    data = data_of(folder, job)
    rows, plan = data.rows("train")[0], data.plan
    order = [row for step in range(job.steps + 2) for row in plan[step].rows.tolist()]
    taken = rows.take(order)
    columns = {name: taken[name] for name in ("anchor", "positive")}
    (folder / "ordered.json").write_text(json.dumps(columns))
    if job.work == "distillation":
        vectors = torch.nn.functional.normalize(torch.randn(len(order), 2, 384, generator=torch.Generator().manual_seed(0)), dim=-1)
        vectors = vectors.half().float()  # as the store keeps them
        torch.save(vectors, folder / "vectors.pt")
        import pyarrow as pa
        import pyarrow.parquet as pq

        texts = [text for pair in zip(*columns.values(), strict=True) for text in pair]
        pq.write_table(pa.table({"text": texts, "vector": vectors.flatten(0, 1).tolist()}), folder / "vectors.parquet")
        import_vectors(folder / "vectors.parquet", "benchmark", folder / "store")
    if job.work.startswith("teacher"):
        make_teacher(folder / "teacher")
        del CacheTrainer, EmbeddingModule


def make_teacher(folder: Path) -> None:
    """A 24-layer, 768-wide BERT with random weights: what counts is what it costs."""


def compare(job: Job) -> dict[str, Any]:
    """Steps of both, in turn.

    Raises:
        SystemExit: If their losses differ.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, job)
        words = ["--folder", name, "--job", json.dumps(asdict(job)), "--arm"]
        found = in_turn(__file__, {arm: [*words, arm] for arm in ("ours", "theirs")}, job.steps)
    losses = [[turn["loss"] for turn in found[arm]] for arm in ("ours", "theirs")]
    off = max(abs(a - b) / abs(b) for a, b in zip(*losses, strict=True))
    if off > SAME:
        raise SystemExit(f"{job}: the losses are not the same: {losses}")
    return found | {"difference": off}  # type: ignore[operator, return-value]
