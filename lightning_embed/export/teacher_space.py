"""A run's student as an encoder of its teacher's space, and how near its vectors are to the teacher's own."""

from __future__ import annotations

import torch

from lightning_embed.checkpoints.student import read_checkpoint
from lightning_embed.encoders.copies import projected
from lightning_embed.encoders.text_encoder import TextEncoder
from lightning_embed.errors import UserError
from lightning_embed.evaluation.nearness import nearness
from lightning_embed.evaluation.of_run import data_of, teacher_of
from lightning_embed.export.students import Student
from lightning_embed.utils.configs import arguments_of, teacher_in
from lightning_embed.utils.teacher_names import KEY, ONE


def teacher_named(space: str) -> str | None:
    """The name of the teacher that `teacher` or `teacher:NAME` means; None for anything else.

    Args:
        space: What was given.
    """
    kind, _, name = space.partition(":")
    return (name or ONE) if kind == KEY else None


def in_teacher_space(student: Student, name: str = ONE) -> TextEncoder:
    """The student with the run's projection as its last head; itself where it has none and gives vectors of the teacher's size.

    Args:
        student: A student of a run.
        name: The teacher's, where the run had several.

    Raises:
        UserError: Its vectors cannot be compared with the teacher's.
    """
    if student.checkpoint is None:
        raise UserError(f"space: teacher needs a run's checkpoint, and {student.encoder.folder} is a model's folder")
    state, encoder = read_checkpoint(student.checkpoint)["state_dict"], student.encoder
    model = arguments_of(student.config.get("model"))
    try:
        teacher_in(student.config.get("model"), name)
    except UserError as error:
        raise UserError(f"space: {error}") from None
    key = f"projection.{name}" if name else "projection"
    if f"{key}.weight" in state:
        own = arguments_of(model.get("projection"))
        direction = arguments_of(own.get(name) if name else own).get("direction")
        weight = state[f"{key}.weight"]
        if direction == "teacher_to_student" or weight.shape[1] != encoder.dim:
            raise UserError(
                f"space: teacher needs a projection of the student's {encoder.dim} entries, and the run's maps {weight.shape[1]} to "
                f"{weight.shape[0]}, from the teacher's space to the student's; leave --space out"
            )
        return projected(encoder, weight, state[f"{key}.bias"])
    teacher = teacher_of(student.checkpoint, student.config_file, name)
    if teacher is None:
        raise UserError("space: teacher: the run had no teacher; leave --space out")
    if teacher.dim != encoder.dim:
        raise UserError(
            f"space: teacher: the run had no projection, and the student's vectors have {encoder.dim} entries and the teacher's "
            f"{teacher.dim}; train with model.projection, or leave --space out"
        )
    return encoder


def nearness_line(student: Student, encoder: TextEncoder, name: str = ONE) -> str:
    """How near an exported encoder is to the teacher of its run, or why that is not known.

    Args:
        student: The run's student.
        encoder: The same in the teacher's space, in any number of the teacher's first entries.
        name: The teacher's, where the run had several.
    """
    assert student.checkpoint is not None
    try:
        teacher = teacher_of(student.checkpoint, student.config_file, name)
        if teacher is None:
            raise UserError("the run had no teacher")
        if getattr(teacher, "random_init", False):
            raise UserError("the run's teacher had random weights")
        if encoder.dim < teacher.dim:
            raise UserError(f"it is of whole vectors, and these are the first {encoder.dim} of {teacher.dim} entries")
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        home, place = encoder.device, teacher.to(device)
        try:
            data = data_of(student.checkpoint, student.config_file)
            return nearness(encoder.to(device), place, data, name=name).sentence()
        finally:
            encoder.to(home)
    except UserError as error:
        return f"How near it is to the teacher's own vectors was not measured: {error}."
