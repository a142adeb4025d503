"""Whether the parts of a module go together."""

from collections.abc import Mapping

from lightning_embed.encoders.text_encoder import TextEncoder
from lightning_embed.errors import UserError
from lightning_embed.losses import LossTerm
from lightning_embed.training.teachers import Encoder, Projections, Teachers, check_names
from lightning_embed.utils.notes import note
from lightning_embed.utils.teacher_names import by_name


def check_parts(
    student: TextEncoder,
    losses: Mapping[str, LossTerm],
    teacher: Teachers,
    projection: Projections,
) -> None:
    """Refuses parts that a module cannot train with.

    Args:
        student: The encoder that trains.
        losses: Name -> loss and weight.
        teacher: The frozen encoder, if there is one, or several by name.
        projection: ψ, if there is one, or several by the teachers' names.

    Raises:
        UserError: There is no loss, one lacks what it requires, teacher and student share weights, or names of teachers do not fit.
    """
    if not losses:
        raise UserError("losses: at least one is needed, e.g. {distill: {loss: Distillation}}")
    shared = {id(p) for p in student.parameters()}
    teachers: dict[str, Encoder] = by_name(teacher)
    if any(id(p) in shared for one in teachers.values() for p in one.parameters()):
        raise UserError("teacher and student are one encoder, and a teacher never trains: make two of them")
    if not any(p.requires_grad for p in student.parameters()):
        note("student: none of its weights trains; the teacher of another module stays frozen")
    if projection is not None and teacher is None:
        raise UserError("projection: it maps between student and teacher, and there is no teacher; give model.teacher")
    check_names(teacher, projection, losses)
    for name, term in losses.items():
        who = f"loss '{name}' ({type(term.loss).__name__})"
        if "teacher" in term.loss.requires and teacher is None:
            raise UserError(f"{who} requires a teacher; give model.teacher")
        if "reference" in term.loss.requires and student.adapter is None:
            raise UserError(
                f"{who} requires a reference, the student with its adapter off; give student.adapter, e.g. {{rank: 32}}"
            )
