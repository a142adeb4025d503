"""Held-out rows as a run's student and teacher embed them, scored by source."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from math import ceil
from types import MappingProxyType

import torch
from torch import Tensor

from lightning_embed.batch import ANCHOR, POSITIVE, TokenBatch
from lightning_embed.datamodules import EmbeddingDataModule
from lightning_embed.encoders.columns import encode_columns, teacher_vectors
from lightning_embed.encoders.teacher import StoredTeacher
from lightning_embed.encoders.text_encoder import TextEncoder
from lightning_embed.errors import UserError
from lightning_embed.evaluation.metrics.by_source import BySource, Encode, metric_for
from lightning_embed.evaluation.metrics.held_out import TEACHER, HeldOutMetric
from lightning_embed.evaluation.metrics.teacher_cosine import TeacherCosine
from lightning_embed.evaluation.reports import facts
from lightning_embed.heads import Projection, normalize
from lightning_embed.utils.activity import track
from lightning_embed.utils.teacher_names import ONE, is_teacher_key, teacher_key, teachers_among

Teacher = TextEncoder | StoredTeacher


def student_vectors(
    student: TextEncoder, teachers: Mapping[str, Teacher], batch: TokenBatch, roles: Sequence[str]
) -> dict[str, Tensor]:
    """What a held-out metric asks for: role -> (n, D) vectors of the student, and `teacher_key` -> a teacher's (n, E) of the anchors.

    Args:
        student: The student.
        teachers: The run's teachers, by name.
        batch: Held-out rows, on the student's device.
        roles: What is asked for.

    Raises:
        UserError: If the teacher's vectors are asked for and nothing gives them.
    """
    found = encode_columns(student, batch.student, [role for role in roles if not is_teacher_key(role)])
    for name in teachers_among(dict.fromkeys(roles)):
        own = batch.of_teacher(name)
        if ANCHOR not in own.teacher_vectors and ANCHOR not in own.teacher:
            raise _no_teacher(batch.source, "not all of them are stored" if teachers else None)
        found[teacher_key(name)] = teacher_vectors(teachers.get(name), own, [ANCHOR])[ANCHOR]
    return found


def refuse_texts_alone(data: object, stage: str, teachers: Collection[str]) -> None:
    """Raises `UserError` if held-out texts alone are to be scored where no loss compares the student with a teacher of their source.

    Args:
        data: The run's data.
        stage: `fit`, `validate`, `test` or `predict`.
        teachers: The names of the teachers that a loss compares the student with.
    """
    splits = {"fit": ("validation", "test"), "validate": ("validation",), "test": ("test",)}.get(stage, ())
    for rows in (rows for split in splits if isinstance(data, EmbeddingDataModule) for rows in data.rows(split)):
        if rows.roles == {ANCHOR} and not any(map(rows.source.has_teacher, teachers)):
            raise _no_teacher(rows.source.title, "no loss compares the student with a teacher")


def _no_teacher(source: str, why: str | None) -> UserError:
    return UserError(
        f"source '{source}': held-out texts alone are scored by their cosine with the teacher's vectors, and "
        f"{why or 'there is no teacher'}: give it positives or labels, or other validation and test data"
    )


def student_scores(
    student: TextEncoder,
    batches: Iterable[TokenBatch],
    choose: Callable[[TokenBatch], HeldOutMetric] = metric_for,
    teachers: Mapping[str, Teacher] = MappingProxyType({}),
) -> BySource:
    """The scores of held-out rows by a run's student; every rank must call it.

    Args:
        student: The student, on its device; it is left in the mode that it is in.
        batches: This rank's rows.
        choose: As for `BySource`.
        teachers: The run's teachers by name, for texts alone.
    """
    training = student.training
    student.eval()
    watched = track(batches, "scoring the student")
    found = _collect(
        BySource(choose), watched, student.device, lambda batch, roles: student_vectors(student, teachers, batch, roles)
    )
    student.train(training)
    return found


def teacher_scores(
    teacher: Teacher,
    batches: Iterable[TokenBatch],
    device: torch.device,
    choose: Callable[[TokenBatch], HeldOutMetric] = metric_for,
) -> BySource:
    """The scores of held-out rows by a run's lone teacher, with stored vectors where there are some; every rank must call it.

    Args:
        teacher: The teacher, in evaluation mode.
        batches: This rank's rows.
        device: Where to compare the vectors of a `StoredTeacher`, which has no device of its own.
        choose: As for `BySource`.
    """
    place = teacher.device if isinstance(teacher, TextEncoder) else device
    watched = track(batches, "scoring the teacher")
    encode = partial(_teachers_own, teacher)
    return _collect(BySource(partial(_of_teacher, choose)), watched, place, encode)


def _of_teacher(choose: Callable[[TokenBatch], HeldOutMetric], batch: TokenBatch) -> HeldOutMetric:
    metric = choose(batch)
    return TeacherCosine() if isinstance(metric, TeacherCosine) else metric  # ψ maps none of its vectors to itself


def _teachers_own(teacher: Teacher, batch: TokenBatch, roles: Sequence[str]) -> dict[str, Tensor]:
    vectors = teacher_vectors(teacher, batch, [role for role in roles if role != TEACHER])
    return vectors | ({TEACHER: vectors[ANCHOR]} if TEACHER in roles else {})


def swap_scores(
    student: TextEncoder,
    teachers: Mapping[str, Teacher],
    projections: Mapping[str, Projection],
    batches: Iterable[TokenBatch],
    choose: Callable[[TokenBatch], HeldOutMetric] = metric_for,
) -> dict[str, BySource]:
    """The scores of held-out rows by student and teachers, each alone and the student with a teacher's documents; every rank must call it.

    Args:
        student: The student, on its device; it is left in the mode that it is in.
        teachers: The teachers by name, in evaluation mode.
        projections: By the teachers' names, ψ, which brings the student's vectors into a teacher's space; left out: they are there.
        batches: This rank's rows.
        choose: As for `BySource`.

    Returns:
        `student after`, the titles of the teachers and those of `SWAPS` in each one's space -> scores; the last only where all sources
        have queries and documents, and `in_one_space`.
    """
    found = {facts.AFTER: BySource(choose)}
    shared = {name: in_one_space(student, one, projections.get(name)) for name, one in teachers.items()}
    for name in teachers:
        found |= {facts.swap_title(swap, name): BySource(choose) for swap in facts.SWAPS}
        found[facts.teacher_title(name)] = BySource(partial(_of_teacher, choose))
    training = student.training
    student.eval()
    for batch in track(batches, "scoring student and teacher"):
        moved = batch.to(student.device)
        roles = {name: scores.wanted(moved) for name, scores in found.items()}
        if not roles[facts.AFTER]:
            continue
        with torch.no_grad():  # not inference mode: sharded weights that were gathered in it could not train
            own = student_vectors(student, teachers, moved, roles[facts.AFTER])
            found[facts.AFTER].take(moved, own)
            pairs = set(found[facts.AFTER].metrics[moved.source].roles) == {ANCHOR, POSITIVE}
            for name, teacher in teachers.items():
                title = facts.teacher_title(name)
                theirs = _teachers_own(teacher, moved.of_teacher(name), roles[title])
                found[title].take(moved, theirs)
                shared[name] = shared[name] and pairs
                if shared[name]:
                    sides = {"student": _projected(own, theirs, projections.get(name)), "teacher": theirs}
                    for swap, (queries, documents) in facts.SWAPS.items():
                        pair = {role: sides[queries if role == ANCHOR else documents][role] for role in own}
                        found[facts.swap_title(swap, name)].take(moved, pair)
    student.train(training)
    left_out = {facts.swap_title(swap, name) for name, there in shared.items() if not there for swap in facts.SWAPS}
    return {name: scores for name, scores in found.items() if name not in left_out}


def in_one_space(student: TextEncoder, teacher: TextEncoder | StoredTeacher, projection: Projection | None) -> bool:
    """Whether a student's vectors, through ψ if there is one, may be compared with its teacher's own.

    Args:
        student: The student.
        teacher: The teacher.
        projection: ψ.
    """
    return student.dim == teacher.dim if projection is None else projection.direction == "student_to_teacher"


def _projected(
    own: Mapping[str, Tensor], theirs: Mapping[str, Tensor], projection: Projection | None
) -> Mapping[str, Tensor]:
    if projection is None:
        return own
    return {role: projection(normalize(own[role].float()), theirs[role])[0] for role in own}


def _collect(
    found: BySource,
    batches: Iterable[TokenBatch],
    device: torch.device,
    encode: Encode,
) -> BySource:
    for batch in batches:
        with torch.no_grad():  # not inference mode: sharded weights that were gathered in it could not train
            found.add(batch.to(device), encode)
    return found


def can_score(teacher: Teacher | None, data: EmbeddingDataModule, split: str, name: str = ONE) -> bool:
    """Whether a teacher has, or can compute, the vectors of a split's pairs, and all its sources are for that teacher.

    Args:
        teacher: The run's teacher, if it has one.
        data: The run's data.
        split: `validation` or `test`.
        name: The teacher's, where there are several.
    """
    rows = data.rows(split)
    if not rows or not all(one.source.has_teacher(name) for one in rows):
        return False
    stored = isinstance(teacher, StoredTeacher) and data.teacher_is_stored(split, name)
    return stored or isinstance(teacher, TextEncoder)


def some_texts(data: EmbeddingDataModule, most: int) -> list[str]:
    """The first anchors of the first source, of held-out rows if there are some, else of those that were trained on.

    Args:
        data: The run's data.
        most: How many at most.
    """
    rows = next(rows for split in ("test", "validation", "train") for rows in data.rows(split))
    anchors: list[str | list[str]] = rows.take(list(range(min(most, len(rows)))))[ANCHOR]
    return [anchor[0] if isinstance(anchor, list) else anchor for anchor in anchors]


def some_documents(data: EmbeddingDataModule, most: int) -> list[str]:
    """Different documents of a run, spread over its sources and their rows: held-out ones first, then those that were trained on.

    A row's document is its positive; where there is none, its anchor.

    Args:
        data: The run's data.
        most: How many at most.
    """
    found: dict[str, None] = {}
    for split in ("test", "validation", "train"):
        sources = data.rows(split)
        for place, rows in enumerate(sources):
            share = ceil((most - len(found)) / (len(sources) - place))
            if share == 0:
                break
            taken = rows.take(list(range(0, len(rows), max(1, len(rows) // share))[:share]))
            cells = taken[POSITIVE] if POSITIVE in taken else taken[ANCHOR]
            found |= dict.fromkeys(cell[0] if isinstance(cell, list) else cell for cell in cells)
    return list(found)
