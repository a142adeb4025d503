"""A batch's tokens as the vectors that its losses need."""

from collections.abc import Iterable

from lightning_embed.batch import ANCHOR, ROLES, EmbeddingBatch, TokenBatch
from lightning_embed.encoders.columns import encode_columns, teacher_vectors
from lightning_embed.encoders.teacher import FrozenEncoder, StoredTeacher
from lightning_embed.encoders.text_encoder import TextEncoder
from lightning_embed.heads import Projection
from lightning_embed.losses import EmbeddingLoss
from lightning_embed.losses.requirements import teacher_roles


def embed_batch(
    student: TextEncoder,
    teacher: FrozenEncoder | StoredTeacher | TextEncoder | None,
    projection: Projection | None,
    batch: TokenBatch,
    losses: Iterable[EmbeddingLoss],
    step: int,
) -> EmbeddingBatch:
    """The student's, teacher's and reference's vectors of the columns that some losses need.

    Args:
        student: The encoder that trains.
        teacher: The frozen encoder; None where no loss needs one.
        projection: ψ, which the losses may need.
        batch: B rows as tokens.
        losses: The losses that will be called.
        step: Optimizer steps done.
    """
    losses = list(losses)
    named = [loss.requires | loss.uses for loss in losses]
    roles = [role for role in ROLES if role in batch.student and (role == ANCHOR or any(role in n for n in named))]
    taught = frozenset[str]().union(*(teacher_roles(loss) for loss in losses))
    guided = [role for role in ROLES if role in batch.student and role in taught]
    referred = [role for role in roles if any("reference" in n and role in n for n in named)]
    reference = encode_columns(student.reference, batch.student, referred) if referred else {}
    vectors = encode_columns(student, batch.student, roles)
    return EmbeddingBatch(
        student={role: v.float() for role, v in vectors.items()},
        teacher=teacher_vectors(teacher, batch, guided),
        reference={role: v.float() for role, v in reference.items()},
        projection=projection,
        keys=batch.keys,
        negative_counts=batch.negative_counts,
        score=batch.score,
        label=batch.label,
        document=batch.document,
        source=batch.source,
        step=step,
    )
