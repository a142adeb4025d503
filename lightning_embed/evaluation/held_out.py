"""Held-out rows as a run's student and teacher embed them, scored by source."""

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor

from lightning_embed.batch import ANCHOR, TokenBatch
from lightning_embed.datamodules import EmbeddingDataModule
from lightning_embed.encoders.columns import encode_columns, teacher_vectors
from lightning_embed.encoders.teacher import StoredTeacher
from lightning_embed.encoders.text_encoder import TextEncoder
from lightning_embed.evaluation.metrics.by_source import BySource, metric_for
from lightning_embed.evaluation.metrics.held_out import HeldOutMetric
from lightning_embed.evaluation.reports.facts import AFTER, SWAPS, TEACHER
from lightning_embed.heads import Projection, normalize
from lightning_embed.utils.activity import track


def student_scores(
    student: TextEncoder, batches: Iterable[TokenBatch], choose: Callable[[TokenBatch], HeldOutMetric] = metric_for
) -> BySource:
    """The scores of held-out rows by a run's student; every rank must call it.

    Args:
        student: The student, on its device; it is left in the mode that it is in.
        batches: This rank's rows.
        choose: As for `BySource`.
    """
    training = student.training
    student.eval()
    watched = track(batches, "scoring the student")
    found = _collect(
        BySource(choose), watched, student.device, lambda batch, roles: encode_columns(student, batch.student, roles)
    )
    student.train(training)
    return found


def teacher_scores(
    teacher: TextEncoder | StoredTeacher,
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
    return _collect(BySource(choose), watched, place, lambda batch, roles: teacher_vectors(teacher, batch, roles))


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
    found = {name: BySource(choose) for name in (AFTER, TEACHER, *SWAPS)}
    training = student.training
    student.eval()
    shared = in_one_space(student, teacher, projection)
    for batch in track(batches, "scoring student and teacher"):
        moved = batch.to(student.device)
        metrics = {name: scores.of(moved) for name, scores in found.items()}
        roles = list(metrics[AFTER].roles)
        with torch.no_grad():  # not inference mode: sharded weights that were gathered in it could not train
            own = encode_columns(student, moved.student, roles)
            theirs = teacher_vectors(teacher, moved, roles)
            metrics[AFTER].add(own, moved)
            metrics[TEACHER].add(theirs, moved)
            shared = shared and len(roles) > 1
            if shared:
                sides = {"student": _projected(own, theirs, projection), "teacher": theirs}
                for name, (queries, documents) in SWAPS.items():
                    pair = {role: sides[queries if role == ANCHOR else documents][role] for role in roles}
                    metrics[name].add(pair, moved)
    student.train(training)
    return found if shared else {name: found[name] for name in (AFTER, TEACHER)}


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
    encode: Callable[[TokenBatch, list[str]], Mapping[str, Tensor]],
) -> BySource:
    for batch in batches:
        moved = batch.to(device)
        metric = found.of(moved)
        with torch.no_grad():  # not inference mode: sharded weights that were gathered in it could not train
            vectors = encode(moved, list(metric.roles))
        metric.add(vectors, moved)
    return found


def can_score(teacher: TextEncoder | StoredTeacher | None, data: EmbeddingDataModule, split: str) -> bool:
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
