"""The Trainer's own time per step: a tiny model, B = 8, under Lightning with our callbacks and in a bare loop over the same batches.

python benchmarks/overhead.py
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
from common import MODEL, write_pairs

from lightning_embed import EmbeddingModule, TextEncoder
from lightning_embed.callbacks.throughput import Throughput
from lightning_embed.datamodules import EmbeddingDataModule, Source
from lightning_embed.losses import InfoNCE, LossTerm

BATCH, WARM = 8, 10


def tiny(folder: Path) -> None:
    """A BERT of one layer, 32 wide, with `MODEL`'s tokenizer and a vocabulary as large."""
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    from lightning_embed.encoders.pretrained import locate

    config = AutoConfig.from_pretrained(locate(MODEL))
    config.update({"num_hidden_layers": 1, "hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2})
    AutoModel.from_config(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(locate(MODEL)).save_pretrained(folder)


class Times(L.Callback):
    """When each step ended."""

    def __init__(self) -> None:
        self.at: list[float] = []

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *rest: Any) -> None:
        """Notes the time."""
        self.at.append(time.perf_counter())


def made(folder: Path) -> tuple[EmbeddingModule, EmbeddingDataModule]:
    """Model and data, the same each time."""
    L.seed_everything(0, verbose=False)
    student = TextEncoder(str(folder / "tiny"), "mean", dropout=0.0)
    module = EmbeddingModule(
        student,
        {"nce": LossTerm(InfoNCE())},
        optimizer=lambda groups: torch.optim.AdamW(groups, lr=1e-4, fused=True),
    )
    return module, EmbeddingDataModule(
        train=[Source(str(folder / "pairs.jsonl"))], global_batch_size=BATCH, num_workers=0
    )


def trained(folder: Path, steps: int) -> tuple[list[float], float]:
    """Seconds of each step under the Trainer, and a sum over the weights that it leaves."""
    module, data = made(folder)
    times = Times()
    trainer = L.Trainer(
        max_steps=steps, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, limit_val_batches=0, gradient_clip_val=1.0, log_every_n_steps=10, callbacks=[Throughput(), times],
    )  # fmt: skip
    trainer.fit(module, datamodule=data)
    return seconds(times.at), checksum(module)


def bare(folder: Path, steps: int) -> tuple[list[float], float]:
    """The same in a loop."""
    module, data = made(folder)
    data.tokenizers = module.tokenizers
    data.setup("fit")
    optimizer = module.configure_optimizers()
    loss = module.terms["nce"].loss
    at = []
    batches = iter(data.train_dataloader())
    module.train()
    with untrained(module):
        for _ in range(steps):
            batch = next(batches)
            optimizer.zero_grad()
            value = loss(module.encode(batch, [loss]))
            value.backward()
            torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
            optimizer.step()
            loss.on_step_end(module, 0)
            at.append(time.perf_counter())
    return seconds(at), checksum(module)


@contextmanager
def untrained(module: EmbeddingModule) -> Iterator[None]:
    """Lets a module tell its step, 0, without a trainer."""
    module._trainer = None
    yield


def seconds(at: list[float]) -> list[float]:
    """Seconds between the ends of steps, but for the first few."""
    return [b - a for a, b in zip(at[WARM:], at[WARM + 1 :], strict=False)]


def checksum(module: EmbeddingModule) -> float:
    """A number that hangs on every weight."""
    return float(sum(p.detach().double().abs().sum() for p in module.parameters()))


def rows(quick: bool) -> dict[str, float]:
    """Milliseconds of a step of each, and how much the Trainer adds.

    Args:
        quick: Fewer steps.

    Raises:
        SystemExit: If the two leave other weights.
    """
    steps, rounds = (60, 4) if quick else (100, 12)
    torch.set_num_threads(1)  # a tiny model gains nothing from more, and waits for them
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tiny(folder / "tiny")
        write_pairs(folder / "pairs.jsonl", BATCH * (steps + 2), 32, 128)
        runs = []
        for number in range(rounds):  # each is first as often as the other
            ways = (trained, bare) if number % 2 else (bare, trained)
            found = {way: way(folder, steps) for way in ways}
            runs.append((found[trained], found[bare]))
    sums = {total for pair in runs for _, total in pair}
    if max(sums) - min(sums) > 1e-6 * max(sums):
        raise SystemExit(f"the two do not do the same work: {sums}")
    with_trainer, without = (statistics.median(s for pair in runs for s in pair[side][0]) * 1000 for side in (0, 1))
    added = statistics.median(statistics.median(a[0]) - statistics.median(b[0]) for a, b in runs) * 1000
    return {"trainer ms": with_trainer, "bare ms": without, "added ms": added, "share": added / without}


def table(found: dict[str, float]) -> str:
    """As Markdown.

    Args:
        found: What `rows` gave.
    """
    return (
        "| step of a tiny model, B = 8 | Trainer: ms | bare loop: ms | added: ms | share | aim |\n|---|---|---|---|---|---|\n"
        f"| one layer, 32 wide | {found['trainer ms']:.2f} | {found['bare ms']:.2f} | {found['added ms']:+.2f} | {found['share']:.0%} | "
        "5 % or 1 ms |"
    )


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    print(table(rows(parser.parse_args().quick)))


if __name__ == "__main__":
    main()
