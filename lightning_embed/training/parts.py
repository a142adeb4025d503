"""Whether the parts of a module go together."""

from collections.abc import Mapping

from lightning_embed.encoders.teacher import FrozenEncoder, StoredTeacher
from lightning_embed.encoders.text_encoder import TextEncoder
from lightning_embed.errors import UserError
from lightning_embed.heads import Projection
from lightning_embed.losses import LossTerm
from lightning_embed.utils.notes import note


def check_parts(
    student: TextEncoder,
    losses: Mapping[str, LossTerm],
    teacher: FrozenEncoder | StoredTeacher | TextEncoder | None,
    projection: Projection | None,
) -> None:
    """Refuses parts that a module cannot train with.

    Args:
        student: The encoder that trains.
        losses: Name -> loss and weight.
        teacher: The frozen encoder, if there is one.
        projection: ψ, if there is one.

    Raises:
        UserError: There is no loss, one lacks what it requires, or teacher and student share weights.
    """
    if not losses:
        raise UserError("losses: at least one is needed, e.g. {distill: {loss: Distillation}}")
    shared = {id(p) for p in student.parameters()}
    if teacher is not None and any(id(p) in shared for p in teacher.parameters()):
        raise UserError("teacher and student are one encoder, and a teacher never trains: make two of them")
    if not any(p.requires_grad for p in student.parameters()):
        note("student: none of its weights trains; the teacher of another module stays frozen")
    if projection is not None and teacher is None:
        raise UserError("projection: it maps between student and teacher, and there is no teacher; give model.teacher")
    for name, term in losses.items():
        who = f"loss '{name}' ({type(term.loss).__name__})"
        if "teacher" in term.loss.requires and teacher is None:
            raise UserError(f"{who} requires a teacher; give model.teacher")
        if "reference" in term.loss.requires and student.adapter is None:
            raise UserError(
                f"{who} requires a reference, the student with its adapter off; give student.adapter, e.g. {{rank: 32}}"
            )
