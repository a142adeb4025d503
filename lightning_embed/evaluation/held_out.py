"""Held-out pairs as a run's student and teacher embed them, to score how well they find each anchor's positive."""

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor

from lightning_embed.batch import ANCHOR, POSITIVE, TokenBatch
from lightning_embed.datamodules import EmbeddingDataModule
from lightning_embed.encoders.columns import encode_columns, teacher_vectors
from lightning_embed.encoders.teacher import StoredTeacher
from lightning_embed.encoders.text_encoder import TextEncoder
from lightning_embed.evaluation.metrics.retrieval import PairRetrieval
from lightning_embed.utils.activity import track


def student_retrieval(student: TextEncoder, batches: Iterable[TokenBatch]) -> PairRetrieval:
    """The vectors of held-out pairs by a run's student; every rank must call it.

    Args:
        student: The student, on its device; it is left in the mode that it is in.
        batches: This rank's pairs.
    """
    training = student.training
    student.eval()
    watched = track(batches, "scoring the student")
    found = _collect(watched, student.device, lambda batch: encode_columns(student, batch.student, [ANCHOR, POSITIVE]))
    student.train(training)
    return found


def teacher_retrieval(
    teacher: TextEncoder | StoredTeacher, batches: Iterable[TokenBatch], device: torch.device
) -> PairRetrieval:
    """The vectors of held-out pairs by a run's teacher, stored ones where there are some; every rank must call it.

    Args:
        teacher: The teacher, in evaluation mode.
        batches: This rank's pairs.
        device: Where to compare the vectors of a `StoredTeacher`, which has no device of its own.
    """
    place = teacher.device if isinstance(teacher, TextEncoder) else device
    watched = track(batches, "scoring the teacher")
    return _collect(watched, place, lambda batch: teacher_vectors(teacher, batch, [ANCHOR, POSITIVE]))


def _collect(
    batches: Iterable[TokenBatch], device: torch.device, encode: Callable[[TokenBatch], Mapping[str, Tensor]]
) -> PairRetrieval:
    metric = PairRetrieval().to(device)
    for batch in batches:
        moved = batch.to(device)
        with torch.no_grad():  # not inference mode: sharded weights that were gathered in it could not train
            vectors = encode(moved)
        metric.update(vectors[ANCHOR], vectors[POSITIVE], moved.keys[POSITIVE])
    return metric


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


def held_out_anchors(data: EmbeddingDataModule, most: int) -> list[str]:
    """The first anchors of the first test source; none where nothing is held out.

    Args:
        data: The run's data.
        most: How many at most.
    """
    sources = data.rows("test")
    if not sources:
        return []
    taken: list[str] = sources[0].take(list(range(min(most, len(sources[0])))))[ANCHOR]
    return taken
