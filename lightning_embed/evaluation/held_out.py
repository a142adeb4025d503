"""Held-out rows as a run's student and teacher embed them, scored by source."""

from collections.abc import Callable, Iterable

import torch

from lightning_embed.batch import ANCHOR, TokenBatch
from lightning_embed.datamodules import EmbeddingDataModule
from lightning_embed.encoders.columns import encode_columns, teacher_vectors
from lightning_embed.encoders.teacher import StoredTeacher
from lightning_embed.encoders.text_encoder import TextEncoder
from lightning_embed.evaluation.metrics.by_source import BySource, Encode, metric_for
from lightning_embed.evaluation.metrics.held_out import HeldOutMetric
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
