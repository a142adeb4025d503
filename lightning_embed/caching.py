"""`cache`: runs the teacher once over every text that training can ask it for, and stores its vectors."""

import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import lightning.pytorch as L
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lightning_embed.datamodules import EmbeddingDataModule
from lightning_embed.datamodules.store_shard import Shard
from lightning_embed.datamodules.teacher_lookup import OFF, TeacherLookup, store_folder
from lightning_embed.datamodules.teacher_store import TeacherStore, bad_shards
from lightning_embed.datamodules.teacher_texts import Column, Wanted, all_columns
from lightning_embed.errors import UserError
from lightning_embed.module import EmbeddingModule
from lightning_embed.teacher import FrozenEncoder, StoredTeacher

SPLITS = ("train", "validation", "test")
POOL_TEXTS = 4_096
"""Texts that are sorted by length together."""
CALL_TEXTS = 256
"""Texts that the teacher is given at a time."""
SHARD_SECONDS = 60.0
MERGED_SHARDS = 16


class CacheTrainer(L.Trainer):
    """A Trainer that fills the teacher store instead of training, on the devices that it would train on."""

    def cache(
        self,
        model: EmbeddingModule,
        datamodule: EmbeddingDataModule,
        shard_texts: int = 16_384,
        ckpt_path: str | None = None,
        weights_only: bool | None = None,
    ) -> None:
        """Run the teacher once over all texts of train, validation and test, and keep its vectors for `fit`.

        Args:
            model: Whose teacher runs.
            datamodule: Whose texts it reads.
            shard_texts: Texts after which a shard is written, which is done every minute too: what a kill can lose at most.
            ckpt_path: Not used: the configuration of `fit` may name one.
            weights_only: Not used.
        """
        if shard_texts < 1:
            raise UserError(f"shard_texts must be at least 1, got {shard_texts}")
        job = partial(fill, self, model, datamodule, shard_texts)
        launcher: Any = self.strategy.launcher
        if launcher is None:
            job()
            return
        try:
            launcher.launch(job, trainer=self)
        except BaseException:
            launcher.kill(signal.SIGTERM)  # the other processes wait for this one
            raise


def fill(trainer: L.Trainer, module: EmbeddingModule, data: EmbeddingDataModule, shard_texts: int) -> None:
    """Encodes this process's share of the texts that are not stored yet.

    Args:
        trainer: Says the devices.
        module: Its teacher runs.
        data: Its texts are read.
        shard_texts: Texts of a shard.

    Raises:
        UserError: If there is no teacher that could run or no text.
    """
    teacher = _encoder(module)
    trainer.strategy.setup_environment()
    barrier = trainer.strategy.barrier
    rank, world, first = trainer.global_rank, trainer.world_size, trainer.is_global_zero
    if trainer.local_rank == 0:
        data.prepare_data()
        teacher.identity()  # reads the weights, for their hash: once a machine
    barrier()
    data.tokenizers = module.tokenizers
    wanted = data.teacher_texts(SPLITS, module.teacher_roles)
    if not wanted:
        raise UserError(
            "`cache` needs data: give data.train at least one source, e.g. --data.train '[{path: a.jsonl}]'"
        )
    identity = teacher.identity()
    if identity is None:
        raise UserError(f"teacher '{teacher.model}' has random weights (random_init): its vectors are worth no store")
    store = TeacherStore(store_folder(None if data.teacher_store == OFF else data.teacher_store), identity)
    if first:
        repair(store)
    barrier()
    store.refresh()
    lookup = TeacherLookup(store, teacher.prompts, teacher.max_length)
    texts, missing = take_stock(lookup, wanted)
    barrier()  # until all have looked, nobody writes
    mine = missing[rank::world]
    teacher.to(trainer.strategy.root_device)
    start = time.perf_counter()
    writer = ShardWriter(store, teacher.model, shard_texts)
    with _progress(first and trainer.progress_bar_callback is not None) as progress:
        task = progress.add_task("", total=len(mine), rate="")
        try:
            for column, chosen in pools(wanted, mine):
                keys, vectors = encode(teacher, lookup, column, chosen)
                writer.add(keys, vectors)
                progress.advance(task, len(chosen))
                done = progress.tasks[0].completed
                progress.update(task, rate=f"{world * done / (time.perf_counter() - start):,.0f} texts/s")
        except KeyboardInterrupt:
            print("\ninterrupted: what was encoded is being stored; the same command goes on from there", flush=True)
            raise
        finally:
            writer.flush()
    barrier()
    seconds = time.perf_counter() - start
    if first:
        store.tidy()
        store.refresh()
        said = f"{texts:,} texts, {texts - len(missing):,} of them stored already"
        if len(missing):
            said += f", {len(missing):,} encoded in {seconds:,.0f} s ({len(missing) / seconds:,.0f} texts/s)"
        print(f"teacher store: {said}\nteacher store: {summary(store)}", flush=True)
    barrier()


def _encoder(module: EmbeddingModule) -> FrozenEncoder:
    """The module's teacher, if it is one that `cache` can run."""
    teacher = module.teacher
    if isinstance(teacher, FrozenEncoder):
        return teacher
    if isinstance(teacher, StoredTeacher):
        raise UserError(
            f"teacher '{teacher.name}' is known by its stored vectors alone: `cache` has nothing to run; "
            f"python -m lightning_embed cache --import FILE --import_name {teacher.name} adds vectors"
        )
    what = "model.teacher is not given" if teacher is None else f"model.teacher is a {type(teacher).__name__}"
    raise UserError(f"`cache` needs a frozen teacher, e.g. model.teacher: {{model: FOLDER}}; {what}")


def repair(store: TeacherStore) -> None:
    """Sets damaged shards aside, so that their texts are computed again, and says so.

    Args:
        store: The teacher's store.
    """
    for name, reason in bad_shards(store.path).items():
        aside = store.set_aside(name)
        print(f"damaged: {store.path / name} ({reason}); its texts are computed again; it is now {aside}", flush=True)


def summary(store: TeacherStore) -> str:
    """How many vectors lie where, in words.

    Args:
        store: The teacher's store.
    """
    shards = f"{len(store.shards)} shard{'' if len(store.shards) == 1 else 's'}"
    return f"{len(store):,} vectors of {store.dim} dims in {store.path} ({store.size / 1e6:,.1f} MB in {shards})"


def take_stock(lookup: TeacherLookup, wanted: Sequence[Wanted]) -> tuple[int, NDArray[np.int64]]:
    """How many different texts there are, and the places of those that are not stored, counted over all texts in order.

    Args:
        lookup: The teacher's vectors.
        wanted: Sources, and the roles that are wanted of each.
    """
    keys = [lookup.keys(column.texts, column.prompt, column.max_length) for column in all_columns(wanted)]
    different, places = np.unique(np.concatenate(keys), return_index=True)
    return len(different), np.sort(places[~lookup.store.has(different)])


def pools(wanted: Sequence[Wanted], places: NDArray[np.int64]) -> Iterator[tuple[Column, list[str]]]:
    """The texts at some places in portions for the teacher: of one prompt and length limit, and about equally long.

    Args:
        wanted: As for `take_stock`.
        places: Ascending.
    """
    waiting: dict[tuple[str, int | None], tuple[Column, list[str]]] = {}
    before = 0
    for column in all_columns(wanted):
        low, high = np.searchsorted(places, [before, before + len(column.texts)])
        _, texts = waiting.setdefault((column.prompt, column.max_length), (column, []))
        texts += [column.texts[place - before] for place in places[low:high]]
        before += len(column.texts)
        while len(texts) >= POOL_TEXTS:
            yield from _portions(column, texts[:POOL_TEXTS])
            del texts[:POOL_TEXTS]
    for column, texts in waiting.values():
        yield from _portions(column, texts)


def _portions(column: Column, texts: list[str]) -> Iterator[tuple[Column, list[str]]]:
    texts = sorted(texts, key=len, reverse=True)
    for start in range(0, len(texts), CALL_TEXTS):
        yield column, texts[start : start + CALL_TEXTS]


def encode(
    teacher: FrozenEncoder, lookup: TeacherLookup, column: Column, texts: list[str]
) -> tuple[NDArray[np.bytes_], NDArray[np.float16]]:
    """Keys and vectors of texts; in the teacher's own type, whatever the trainer's precision.

    Args:
        teacher: The teacher, on its device.
        lookup: Makes the keys.
        column: Says prompt and length limit.
        texts: n texts.

    Raises:
        UserError: If a vector is not finite.
    """
    tokens, _, _ = teacher.tokenizer(texts, column.prompt, column.max_length)
    vectors = teacher.embed(tokens.to(teacher.device)).cpu().numpy()
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(bad):
        raise UserError(
            f"teacher '{teacher.model}': its vector of the text {texts[bad[0]][:60]!r} is not finite; try dtype: float32"
        )
    return lookup.keys(texts, column.prompt, column.max_length), vectors.astype(np.float16)


class ShardWriter:
    """Collects vectors and writes a shard every so many texts and every minute; many small ones become one.

    Args:
        store: Where to.
        about: What a person calls the teacher.
        texts: Texts of a shard.
    """

    def __init__(self, store: TeacherStore, about: str, texts: int) -> None:
        self.store, self.about, self.texts = store, about, texts
        self.waiting: list[tuple[NDArray[np.bytes_], NDArray[np.float16]]] = []
        self.written: list[Shard] = []
        self.since = time.perf_counter()

    def add(self, keys: NDArray[np.bytes_], vectors: NDArray[np.float16]) -> None:
        """Takes vectors in.

        Args:
            keys: (n,) content keys that were not added before.
            vectors: (n, E).
        """
        self.waiting.append((keys, vectors))
        many = sum(len(k) for k, _ in self.waiting) >= self.texts
        if many or time.perf_counter() - self.since > SHARD_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Writes what was taken in."""
        if self.waiting:
            keys, vectors = zip(*self.waiting, strict=True)
            self.written.append(self.store.add(np.concatenate(keys), np.concatenate(vectors), self.about))
            self.waiting = []
        if len(self.written) >= MERGED_SHARDS:
            self.store.tidy(self.written)
            self.written = []
        self.since = time.perf_counter()


@contextmanager
def _progress(shown: bool) -> Iterator[Progress]:
    """A bar with counts, speed and the time that is left, on standard error."""
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("texts, {task.fields[rate]}"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not shown, transient=True) as progress:
        yield progress
