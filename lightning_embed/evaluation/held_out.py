"""Held-out rows as a run's student and teacher embed them, scored by source."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

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

Teacher = TextEncoder | StoredTeacher


def student_vectors(
    student: TextEncoder, teacher: Teacher | None, batch: TokenBatch, roles: Sequence[str]
) -> dict[str, Tensor]:
    """What a held-out metric asks for: role -> (n, D) vectors of the student, and `TEACHER` -> (n, E) of the anchors.

    Args:
        student: The student.
        teacher: The teacher, if the run has one.
        batch: Held-out rows, on the student's device.
        roles: What is asked for.

    Raises:
        UserError: If the teacher's vectors are asked for and nothing gives them.
    """
    found = encode_columns(student, batch.student, [role for role in roles if role != TEACHER])
    if TEACHER in roles:
        if ANCHOR not in batch.teacher_vectors and ANCHOR not in batch.teacher:
            raise _no_teacher(batch.source, None if teacher is None else "not all of them are stored")
        found[TEACHER] = teacher_vectors(teacher, batch, [ANCHOR])[ANCHOR]
    return found


def refuse_texts_alone(data: object, stage: str) -> None:
    """Raises `UserError` if held-out texts alone are to be scored where no loss compares the student with a teacher.

    Args:
        data: The run's data.
        stage: `fit`, `validate`, `test` or `predict`.
    """
    splits = {"fit": ("validation", "test"), "validate": ("validation",), "test": ("test",)}.get(stage, ())
    for rows in (rows for split in splits if isinstance(data, EmbeddingDataModule) for rows in data.rows(split)):
        if rows.roles == {ANCHOR}:
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
    teacher: Teacher | None = None,
) -> BySource:
    """The scores of held-out rows by a run's student; every rank must call it.

    Args:
        student: The student, on its device; it is left in the mode that it is in.
        batches: This rank's rows.
        choose: As for `BySource`.
        teacher: The run's teacher, for texts alone.
    """
    training = student.training
    student.eval()
    watched = track(batches, "scoring the student")
    found = _collect(
        BySource(choose), watched, student.device, lambda batch, roles: student_vectors(student, teacher, batch, roles)
    )
    student.train(training)
    return found


def teacher_scores(
    teacher: Teacher,
    batches: Iterable[TokenBatch],
    device: torch.device,
    choose: Callable[[TokenBatch], HeldOutMetric] = metric_for,
) -> BySource:
    """The scores of held-out rows by a run's teacher, with stored vectors where there are some; every rank must call it.

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
    teacher: TextEncoder | StoredTeacher,
    projection: Projection | None,
    batches: Iterable[TokenBatch],
    choose: Callable[[TokenBatch], HeldOutMetric] = metric_for,
) -> dict[str, BySource]:
    """The scores of held-out rows by student and teacher, each alone and with the other's documents; every rank must call it.

    Args:
        student: The student, on its device; it is left in the mode that it is in.
        teacher: The teacher, in evaluation mode.
        projection: ψ, which brings the student's vectors into the teacher's space; None: they are there.
        batches: This rank's rows.
        choose: As for `BySource`.

    Returns:
        `student after`, `teacher` and the names of `SWAPS` -> scores; the last only where all sources have queries and documents, and
        `in_one_space`.
    """
    found = {name: BySource(choose) for name in (facts.AFTER, *facts.SWAPS)}
    found[facts.TEACHER] = BySource(partial(_of_teacher, choose))
    training = student.training
    student.eval()
    shared = in_one_space(student, teacher, projection)
    for batch in track(batches, "scoring student and teacher"):
        moved = batch.to(student.device)
        roles = {name: scores.wanted(moved) for name, scores in found.items()}
        if not roles[facts.AFTER]:
            continue
        with torch.no_grad():  # not inference mode: sharded weights that were gathered in it could not train
            own = student_vectors(student, teacher, moved, roles[facts.AFTER])
            theirs = _teachers_own(teacher, moved, roles[facts.TEACHER])
            found[facts.AFTER].take(moved, own)
            found[facts.TEACHER].take(moved, theirs)
            shared = shared and set(found[facts.AFTER].metrics[moved.source].roles) == {ANCHOR, POSITIVE}
            if shared:
                sides = {"student": _projected(own, theirs, projection), "teacher": theirs}
                for name, (queries, documents) in facts.SWAPS.items():
                    pair = {role: sides[queries if role == ANCHOR else documents][role] for role in own}
                    found[name].take(moved, pair)
    student.train(training)
    return found if shared else {name: found[name] for name in (facts.AFTER, facts.TEACHER)}


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


def can_score(teacher: Teacher | None, data: EmbeddingDataModule, split: str) -> bool:
    """Whether a teacher has, or can compute, the vectors of a split's pairs.

    Args:
        teacher: The run's teacher, if it has one.
        data: The run's data.
        split: `validation` or `test`.
    """
    if not data.rows(split):
        return False
    stored = isinstance(teacher, StoredTeacher) and data.teacher_is_stored(split)
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
