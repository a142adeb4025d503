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

from common import MODEL, Ratio, Turn, in_turn, paired_ratio, table, write_pairs

DISTIL = "distillation from stored teacher vectors"
TEACHER = "teacher from the store against online"
INFONCE = "InfoNCE with in-batch negatives"
GRADCACHE = "the same by GradCache"
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
    def texts(self) -> str:
        """How long they are."""
        return f"texts of 8 to {self.longest} tokens, median {self.median}"

    @property
    def pairs(self) -> int:
        """Rows to write."""
        return max(self.rows, self.batch * (self.steps + 1))


def data_of(folder: Path, job: Job) -> Any:
    """Our data module of the job's pairs."""
    from lightning_embed.datamodules import EmbeddingDataModule, Source

    return EmbeddingDataModule(
        train=[Source(str(folder / "pairs.jsonl"))], global_batch_size=job.batch, num_workers=0,
        teacher_store=str(folder / "store"),
    )  # fmt: skip


def ours(folder: Path, job: Job, online: bool) -> None:
    """Trains with Lightning; `online`: with the teacher, not with its stored vectors."""
    import lightning.pytorch as L
    import torch

    from lightning_embed import EmbeddingModule, TextEncoder
    from lightning_embed.encoders.teacher import FrozenEncoder, StoredTeacher
    from lightning_embed.heads import Projection
    from lightning_embed.losses import Distillation, InfoNCE, LossTerm

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
    loss: Distillation | InfoNCE = InfoNCE(0.05, mask_same_text=False)
    teacher: StoredTeacher | FrozenEncoder | None = None
    projection = None
    if job.work == DISTIL:
        loss, teacher = Distillation(metric="mse"), StoredTeacher("benchmark", 384)
    if job.work == TEACHER:
        loss, projection, teacher = Distillation(), Projection(start="random"), StoredTeacher("benchmark", 768)
        if online:
            teacher = FrozenEncoder(str(folder / "teacher"), max_length=512, pooling="mean")
    torch.manual_seed(0)
    module = EmbeddingModule(
        student, {"loss": LossTerm(loss)}, teacher, projection,
        optimizer=lambda groups: torch.optim.AdamW(groups, lr=1e-5, weight_decay=0.01, fused=True),
    )  # fmt: skip
    data = data_of(folder, job)
    trainer = L.Trainer(
        max_steps=job.steps + 1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, limit_val_batches=0, gradient_clip_val=1.0, callbacks=[Gate()],
    )  # fmt: skip
    trainer.fit(module, datamodule=data)


def theirs(folder: Path, job: Job) -> None:
    """Trains with sentence-transformers, which reads the rows in the same order."""
    import torch
    from datasets import Dataset
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.sentence_transformer import losses
    from torch.utils.data import BatchSampler, SequentialSampler
    from transformers import TrainerCallback

    from lightning_embed.encoders.pretrained import locate

    off = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    model = SentenceTransformer(str(locate(MODEL)), device="cpu", config_kwargs=off)
    model.max_seq_length = 512
    columns: dict[str, Any] = json.loads((folder / "ordered.json").read_text())
    loss: torch.nn.Module
    if job.work == DISTIL:
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
        str(folder / "theirs"), max_steps=job.steps + 1, per_device_train_batch_size=job.batch, learning_rate=1e-5, weight_decay=0.01,
        max_grad_norm=1.0, lr_scheduler_type="constant", use_cpu=True, report_to="none", save_strategy="no", logging_strategy="no",
        disable_tqdm=True, dataloader_pin_memory=False, optim="adamw_torch_fused",
        batch_sampler=lambda dataset, batch_size, drop_last, **_: BatchSampler(SequentialSampler(dataset), batch_size, drop_last),  # type: ignore[arg-type]
    )  # fmt: skip
    SentenceTransformerTrainer(model, args, Dataset.from_dict(columns), loss=loss, callbacks=[Gate()]).train()


def prepare(folder: Path, job: Job) -> None:
    """Writes the pairs, the same pairs in the order in which our plan reads them, and the teacher's vectors."""
    import torch

    write_pairs(folder / "pairs.jsonl", job.pairs, job.median, job.longest)
    data = data_of(folder, job)
    rows, plan = data.rows("train")[0], data.plan
    order = [row for step in range(job.steps + 1) for row in plan[step].rows.tolist()]
    columns = {name: rows.take(order)[name] for name in ("anchor", "positive")}
    (folder / "ordered.json").write_text(json.dumps(columns))
    texts = [text for pair in zip(*columns.values(), strict=True) for text in pair]
    if job.work == DISTIL:
        first = torch.tensor([texts.index(text) for text in texts])  # equal texts have equal vectors
        drawn = torch.nn.functional.normalize(
            torch.randn(len(texts), 384, generator=torch.Generator().manual_seed(0)), dim=-1
        )
        vectors = drawn[first].half().float()  # as the store keeps them
        torch.save(vectors.unflatten(0, (-1, 2)), folder / "vectors.pt")
        store(folder, texts, vectors)
    if job.work == TEACHER:
        from lightning_embed.encoders.teacher import FrozenEncoder

        make_teacher(folder / "teacher")
        store(folder, texts, FrozenEncoder(str(folder / "teacher"), max_length=512, pooling="mean").encode(texts))


def store(folder: Path, texts: list[str], vectors: Any) -> None:
    """Imports vectors under the name `benchmark`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from lightning_embed import import_vectors

    once = dict(zip(texts, vectors.tolist(), strict=True))
    pq.write_table(pa.table({"text": list(once), "vector": list(once.values())}), folder / "vectors.parquet")
    import_vectors(folder / "vectors.parquet", "benchmark", folder / "store")


def make_teacher(folder: Path) -> None:
    """A BERT of 24 layers, 768 wide, of random weights, with `MODEL`'s tokenizer: what counts is what it costs."""
    import torch
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    from lightning_embed.encoders.pretrained import locate

    config = AutoConfig.from_pretrained(locate(MODEL))
    config.update({"num_hidden_layers": 24, "hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12})
    torch.manual_seed(0)
    AutoModel.from_config(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(locate(MODEL)).save_pretrained(folder)


def compare(job: Job) -> dict[str, list[dict[str, Any]]]:
    """Steps of both arms, in turn; the first one of each only warms up.

    Args:
        job: What is trained.

    Raises:
        SystemExit: If their losses differ.
    """
    with tempfile.TemporaryDirectory() as name:
        prepare(Path(name), job)
        words = ["--folder", name, "--job", json.dumps(asdict(job)), "--arm"]
        arms = ("ours", "online") if job.work == TEACHER else ("ours", "theirs")
        found = in_turn(__file__, {arm: [*words, arm] for arm in arms}, job.steps)
    losses = [[turn["loss"] for turn in turns] for turns in found.values()]
    off = max(abs(a - b) / max(abs(b), 1e-9) for a, b in zip(*losses, strict=True))
    if off > SAME:
        raise SystemExit(f"{job}: the losses differ, so the work does: {losses}")
    return found


def ratio(job: Job, aim: str) -> Ratio:
    """A job as a row of the table.

    Args:
        job: What is trained.
        aim: What it should come to.
    """
    mine, other = compare(job).values()
    counted = [[turn["seconds"] for turn in turns[1:]] for turns in (mine, other)]
    speed = statistics.median(turn["tokens"] / turn["seconds"] for turn in mine[1:])
    memory = mine[-1]["mb"] / max(1.0, other[-1]["mb"])
    told = f"{speed:,.0f} tokens/s, {mine[-1]['mb']:,.0f} MB"
    work = f"{job.work}, B = {job.batch}" + (f", chunks of {job.chunk}" if job.chunk else "") + f"; {job.texts}"
    return Ratio(work, paired_ratio(*counted), None if job.work == TEACHER else memory, told, aim)


def jobs(quick: bool) -> dict[str, tuple[Job, str]]:
    """Name -> what is trained, and what it should come to.

    Args:
        quick: Smaller batches of shorter texts.
    """
    small: dict[str, Any] = {"median": 32, "longest": 256, "steps": 2} if quick else {}
    share = 4 if quick else 1
    cached = Job(GRADCACHE, 512 // share**2, median=32, longest=128, chunk=32 // share, steps=1)
    return {
        "distillation": (Job(DISTIL, 32 // share, **small), "4 at 0.33"),
        "store": (Job(TEACHER, 16 // share, **small), "6"),
        "infonce": (Job(INFONCE, 128 // share, longest=256, steps=2, median=32 if quick else 64), "6 at 0.25"),
        "gradcache": (cached, "5 at 0.33"),
        # what most people train on: questions, sentences and short paragraphs
        "short_infonce": (Job(INFONCE, 64 // share, longest=64, median=32, steps=6), "1.5"),
        "shorter_infonce": (Job(INFONCE, 64 // share, longest=32, median=16, steps=6), "1.5"),
        "short_distillation": (Job(DISTIL, 64 // share, longest=64, median=32, steps=6), "1.5"),
    }


def main() -> None:
    """Prints the table, or is one of the arms."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--arm", choices=("ours", "theirs", "online"))
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--job", type=json.loads)
    asked = parser.parse_args()
    if asked.arm is None:
        print(table([ratio(*job) for job in jobs(asked.quick).values()]))
    elif asked.arm == "theirs":
        theirs(asked.folder, Job(**asked.job))
    else:
        ours(asked.folder, Job(**asked.job), online=asked.arm == "online")


if __name__ == "__main__":
    main()
