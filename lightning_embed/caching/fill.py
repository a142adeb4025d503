"""`cache`: runs the teacher once over every text that training can ask it for, and stores its vectors."""

import time
from functools import partial

import lightning.pytorch as L
import numpy as np
from numpy.typing import NDArray

from lightning_embed.caching.portions import ShardWriter, encode, pools, take_stock
from lightning_embed.compat.lightning import launch
from lightning_embed.datamodules import EmbeddingDataModule
from lightning_embed.datamodules.teacher_store.lookup import OFF, TeacherLookup, store_folder
from lightning_embed.datamodules.teacher_store.shard import problem, shard_names
from lightning_embed.datamodules.teacher_store.store import TeacherStore
from lightning_embed.datamodules.teacher_texts import Wanted, check_teachers
from lightning_embed.encoders.teacher import FrozenEncoder, StoredTeacher
from lightning_embed.errors import UserError
from lightning_embed.module import EmbeddingModule
from lightning_embed.utils.activity import Count
from lightning_embed.utils.signals import Stopped
from lightning_embed.utils.teacher_names import teacher_key

SPLITS = ("train", "validation", "test")


def fill_store(
    module: EmbeddingModule,
    data: EmbeddingDataModule,
    trainer: L.Trainer | None = None,
    shard_texts: int = 16_384,
) -> None:
    """Runs a module's teachers over all texts of train, validation and test, and keeps their vectors in `data.teacher_store` for `fit`.

    Texts that are stored already are not encoded again, so that a call that was stopped resumes.

    Args:
        module: Its teacher runs, a `FrozenEncoder`; several run one after the other, without those that are known by stored vectors alone.
        data: Its texts are read, those of the roles whose teacher vectors the module's losses need.
        trainer: The teacher runs on its devices; None: on one device, a GPU if there is one.
        shard_texts: Texts after which a shard is written, at least 1; one is written every minute too, which is the most that a kill
            can lose.

    Raises:
        UserError: If no teacher can run, or there are no texts.
    """
    if shard_texts < 1:
        raise UserError(f"shard_texts must be at least 1, got {shard_texts}")
    trainer = trainer or L.Trainer(devices=1, logger=False, enable_checkpointing=False)
    launch(trainer, partial(_fill_share, trainer, module, data, shard_texts))


def _fill_share(trainer: L.Trainer, module: EmbeddingModule, data: EmbeddingDataModule, shard_texts: int) -> None:
    """Encodes this process's share of the texts that are not stored yet; all processes call it."""
    teachers = _encoders(module)
    trainer.strategy.setup_environment()
    if trainer.local_rank == 0:
        data.prepare_data()
        for teacher in teachers.values():
            teacher.identity()  # reads the weights, for their hash: once a machine
    trainer.strategy.barrier()
    data.tokenizers = module.tokenizers
    for split in SPLITS:
        check_teachers(data.rows(split), module.teachers)
    if not any(data.rows(split) for split in SPLITS):
        raise UserError("`cache` needs data: give data.train at least one source, e.g. --data.train pairs.jsonl")
    for name, teacher in teachers.items():
        wanted = data.teacher_texts(SPLITS, module.roles_by_teacher[name], name)
        _fill_one(trainer, name, teacher, _store(teacher, data), wanted, shard_texts)


def _fill_one(
    trainer: L.Trainer,
    name: str,
    teacher: FrozenEncoder,
    store: TeacherStore,
    wanted: list[Wanted],
    shard_texts: int,
) -> None:
    """Encodes this process's share of the texts that are not stored of one teacher."""
    barrier, first = trainer.strategy.barrier, trainer.is_global_zero
    shown = first and trainer.progress_bar_callback is not None
    if first:
        repair(store, shown)
    barrier()
    store.refresh()
    lookup = TeacherLookup(store, teacher.prompts, teacher.max_length)
    with Count("reading", None, "texts", shown=shown) as reading:
        texts, missing = take_stock(lookup, wanted, reading.advance)
    barrier()  # until all have looked, nobody writes
    teacher.to(trainer.strategy.root_device)
    start = time.perf_counter()
    mine = missing[trainer.global_rank :: trainer.world_size]
    with Count("encoding", len(mine), "texts", shown=shown and len(mine) > 0) as encoding:
        _encode_all(teacher, lookup, wanted, mine, ShardWriter(store, teacher.model, shard_texts), encoding)
    barrier()
    seconds = time.perf_counter() - start
    if first:
        store.tidy()
        store.refresh()
        line = f"{texts:,} texts, {texts - len(missing):,} of them stored already"
        if len(missing):
            line += f", {len(missing):,} encoded in {seconds:,.0f} s ({len(missing) / seconds:,.0f} texts/s)"
        who = f"teacher store: {name + ': ' if name else ''}"
        print(f"{who}{line}\n{who}{summary(store)}", flush=True)
    barrier()


def _encode_all(
    teacher: FrozenEncoder,
    lookup: TeacherLookup,
    wanted: list[Wanted],
    places: NDArray[np.int64],
    writer: ShardWriter,
    count: Count,
) -> None:
    """Encodes the texts at some places; what was encoded is stored, whatever stops it."""
    try:
        for column, texts in pools(wanted, places):
            writer.add(*encode(teacher, lookup, column, texts))
            count.advance(len(texts))
    except (KeyboardInterrupt, Stopped):
        print("\ninterrupted: what was encoded is being stored; the same command resumes from there", flush=True)
        raise
    finally:
        writer.flush()


def _encoders(module: EmbeddingModule) -> dict[str, FrozenEncoder]:
    """The module's teachers that `cache` can run, by name; all but those that are known by stored vectors alone."""
    runnable = {name: one for name, one in module.teachers.items() if not isinstance(one, StoredTeacher)}
    if module.teachers and not runnable:
        first = next(one for one in module.teachers.values() if isinstance(one, StoredTeacher))
        raise UserError(
            f"teacher '{first.name}' is known by its stored vectors alone: `cache` has nothing to run; "
            f"python -m lightning_embed cache --import FILE --import_name {first.name} adds vectors"
        )
    found = {name: one for name, one in runnable.items() if isinstance(one, FrozenEncoder)}
    others = [f"model.{teacher_key(n)} is a {type(one).__name__}" for n, one in runnable.items() if n not in found]
    if others or not found:
        what = others[0] if others else "model.teacher is not given"
        raise UserError(f"`cache` needs a frozen teacher, e.g. model.teacher: {{model: FOLDER}}; {what}")
    return found


def _store(teacher: FrozenEncoder, data: EmbeddingDataModule) -> TeacherStore:
    """Where the teacher's vectors go."""
    identity = teacher.identity()
    if identity is None:
        raise UserError(f"teacher '{teacher.model}' has random weights (random_init): its vectors are worth no store")
    return TeacherStore(store_folder(None if data.teacher_store == OFF else data.teacher_store), identity)


def repair(store: TeacherStore, shown: bool = True) -> None:
    """Sets damaged shards aside, so that their texts are computed again, and says so.

    Args:
        store: The teacher's store.
        shown: Whether to show how far it is.
    """
    names = shard_names(store.path)
    with Count("checking", len(names), "shards", shown=shown and bool(names)) as checked:
        for name in names:
            reason = problem(store.path / name)
            checked.advance()
            if reason:
                aside = store.set_aside(name)
                print(
                    f"damaged: {store.path / name} ({reason}); its texts are computed again; it is now {aside}",
                    flush=True,
                )


def summary(store: TeacherStore) -> str:
    """How many vectors lie where, in words.

    Args:
        store: The teacher's store.
    """
    shards = f"{len(store.shards)} shard{'' if len(store.shards) == 1 else 's'}"
    return f"{len(store):,} vectors of {store.dim} dims in {store.path} ({store.size / 1e6:,.1f} MB in {shards})"
