"""What the teacher store has of a run's texts, and what it lacks."""

from collections.abc import Sequence
from dataclasses import replace

from lightning_embed.datamodules import EmbeddingDataModule
from lightning_embed.datamodules.teacher_store.lookup import OFF, TeacherLookup, open_lookup
from lightning_embed.datamodules.teacher_texts import COUNTED_ROWS, count_stored
from lightning_embed.doctor.facts import Stored, StoreFacts
from lightning_embed.module import EmbeddingModule


def store_facts(module: EmbeddingModule, data: EmbeddingDataModule, splits: Sequence[str]) -> dict[str, StoreFacts]:
    """Which texts have a teacher's vector stored, by teacher; without those whose vectors no loss wants.

    Args:
        module: Knows the teachers and the roles that they are asked for.
        data: Knows the texts.
        splits: Those that are looked at.

    Raises:
        UserError: If the vectors can come from the store alone, and it has none.
    """
    found = {}
    for name, roles in _wanted(module).items():
        lookup = _lookup(module, data, name)
        if lookup is None:
            found[name] = StoreFacts(None, off=data.teacher_store == OFF)
            continue
        counted = []
        optional = replace(lookup, required=False)
        for split in splits:
            for rows, used in data.teacher_texts([split], roles, name):
                stored, texts = count_stored(optional.for_split(split), [(rows, used)], COUNTED_ROWS)
                counted.append(Stored(split, rows.source.title, texts, stored, len(rows) > COUNTED_ROWS))
        found[name] = StoreFacts(str(lookup.store.path), counted, damaged=len(lookup.store.damaged))
    return found


def check_store(module: EmbeddingModule, data: EmbeddingDataModule) -> None:
    """Raises `UserError` if the vectors can come from the store alone, and it lacks one of training's.

    Args:
        module: Knows the teachers.
        data: Knows the texts.
    """
    for name, roles in _wanted(module).items():
        lookup = _lookup(module, data, name)
        if lookup is not None and lookup.required:
            count_stored(lookup, data.teacher_texts(["train"], roles, name), COUNTED_ROWS)


def _wanted(module: EmbeddingModule) -> dict[str, frozenset[str]]:
    return {name: roles for name, roles in module.roles_by_teacher.items() if roles}


def _lookup(module: EmbeddingModule, data: EmbeddingDataModule, teacher: str) -> TeacherLookup | None:
    lookup = open_lookup(module.teachers[teacher], data.teacher_store)
    return None if lookup is None else replace(lookup, roles=module.roles_by_teacher[teacher])
