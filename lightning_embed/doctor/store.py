"""What the teacher store has of a run's texts, and what it lacks."""

from collections.abc import Sequence
from dataclasses import replace

from lightning_embed.datamodules import EmbeddingDataModule
from lightning_embed.datamodules.teacher_store.lookup import OFF, TeacherLookup, open_lookup
from lightning_embed.datamodules.teacher_texts import COUNTED_ROWS, count_stored
from lightning_embed.doctor.facts import Stored, StoreFacts
from lightning_embed.module import EmbeddingModule


def store_facts(module: EmbeddingModule, data: EmbeddingDataModule, splits: Sequence[str]) -> StoreFacts | None:
    """Which texts have their teacher's vector stored; None where no loss wants one.

    Args:
        module: Knows the teacher and the roles that it is asked for.
        data: Knows the texts.
        splits: Those that are looked at.

    Raises:
        UserError: If the vectors can come from the store alone, and it has none.
    """
    if module.teacher is None or not module.teacher_roles:
        return None
    lookup = _lookup(module, data)
    if lookup is None:
        return StoreFacts(None, off=data.teacher_store == OFF)
    counted = []
    optional = replace(lookup, required=False)
    for split in splits:
        for rows, roles in data.teacher_texts([split], module.teacher_roles):
            stored, texts = count_stored(optional.for_split(split), [(rows, roles)], COUNTED_ROWS)
            counted.append(Stored(split, rows.source.title, texts, stored, len(rows) > COUNTED_ROWS))
    return StoreFacts(str(lookup.store.path), counted, damaged=len(lookup.store.damaged))


def check_store(module: EmbeddingModule, data: EmbeddingDataModule) -> None:
    """Raises `UserError` if the vectors can come from the store alone, and it lacks one of training's.

    Args:
        module: Knows the teacher.
        data: Knows the texts.
    """
    lookup = _lookup(module, data) if module.teacher is not None and module.teacher_roles else None
    if lookup is not None and lookup.required:
        count_stored(lookup, data.teacher_texts(["train"], module.teacher_roles), COUNTED_ROWS)


def _lookup(module: EmbeddingModule, data: EmbeddingDataModule) -> TeacherLookup | None:
    lookup = open_lookup(module.teacher, data.teacher_store)
    return None if lookup is None else replace(lookup, roles=module.teacher_roles)
