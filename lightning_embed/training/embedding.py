"""A batch's tokens as the vectors that its losses need."""

from collections.abc import Iterable, Mapping

from lightning_embed.batch import ANCHOR, ROLES, EmbeddingBatch, Taught, TokenBatch
from lightning_embed.encoders.columns import encode_columns, teacher_vectors
from lightning_embed.encoders.text_encoder import TextEncoder
from lightning_embed.losses import EmbeddingLoss
from lightning_embed.training.teachers import Teaching
from lightning_embed.utils.teacher_names import ONE


def embed_batch(
    student: TextEncoder,
    teachers: Mapping[str, Teaching],
    batch: TokenBatch,
    losses: Iterable[EmbeddingLoss],
    step: int,
) -> EmbeddingBatch:
    """The student's, teachers' and reference's vectors of the columns that some losses need.

    Args:
        student: The encoder that trains.
        teachers: Name -> what is asked of a teacher; those of which nothing is asked may be left out.
        batch: B rows as tokens.
        losses: The losses that will be called.
        step: Optimizer steps done.
    """
    named = [loss.requires | loss.uses for loss in losses]
    roles = [role for role in ROLES if role in batch.student and (role == ANCHOR or any(role in n for n in named))]
    referred = [role for role in roles if any("reference" in n and role in n for n in named)]
    reference = encode_columns(student.reference, batch.student, referred) if referred else {}
    vectors = encode_columns(student, batch.student, roles)
    taught = {name: _taught(one, batch.of_teacher(name)) for name, one in teachers.items()}
    lone = taught.pop(ONE, Taught({}, None))
    return EmbeddingBatch(
        student={role: v.float() for role, v in vectors.items()},
        teacher=lone.vectors,
        reference={role: v.float() for role, v in reference.items()},
        projection=lone.projection,
        keys=batch.keys,
        negative_counts=batch.negative_counts,
        score=batch.score,
        label=batch.label,
        document=batch.document,
        source=batch.source,
        step=step,
        by_teacher=taught,
    )


def _taught(teaching: Teaching, batch: TokenBatch) -> Taught:
    guided = [role for role in ROLES if role in batch.student and role in teaching.roles]
    return Taught(teacher_vectors(teaching.encoder, batch, guided), teaching.projection)
