"""The documents from which an exported model's int8 ranges are taken."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from lightning_embed.encoders.text_encoder import TextEncoder
from lightning_embed.errors import UserError
from lightning_embed.evaluation.held_out import some_documents
from lightning_embed.evaluation.of_run import data_of
from lightning_embed.export.ranges import FILE, TEXTS, write_ranges
from lightning_embed.export.students import Student
from lightning_embed.export.texts import read_texts
from lightning_embed.utils.notes import note


def add_ranges(
    encoder: TextEncoder, folder: Path, documents: Callable[[], Sequence[str]], sizes: Collection[int]
) -> str:
    """Adds quantization.json to an exported folder, or notes why there are no documents for it; returns a sentence for the card.

    Args:
        encoder: What embeds documents, as it is exported.
        folder: The exported folder.
        documents: Gives them, or raises `UserError`.
        sizes: As for `write_ranges`.
    """
    try:
        return write_ranges(encoder, folder, documents(), sizes)
    except UserError as error:  # it may name folders of this machine, and cards are published
        note(f"no {FILE}, so no int8 ranges: {error}")
        return f"It has no `{FILE}`: there were no documents to take int8 ranges from."


def documents_of(student: Student, given: Path | None) -> list[str]:
    """Documents of a student's run, or the texts that the user gave where its data cannot be read.

    Args:
        student: The student.
        given: A file of texts; None: there is none.

    Raises:
        UserError: There are neither.
    """
    try:
        if student.checkpoint is None:
            raise UserError(f"{student.encoder.folder} is a model's folder, which names no data; give --texts")
        try:
            return some_documents(data_of(student.checkpoint, student.config_file), TEXTS)
        except OSError as error:
            raise UserError(f"the run's data cannot be read ({error.strerror or error}); give --texts") from None
    except UserError:
        if given is None:
            raise
        return read_texts(given, TEXTS)
