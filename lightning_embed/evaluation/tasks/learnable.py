"""Whether a classification task can score anything: its tested texts need labels that its training texts have."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lightning_embed.errors import UserError
from lightning_embed.utils.notes import note


def check_learnable(
    name: str, path: Path, parts: Sequence[tuple[Sequence[str], Sequence[str]]], cross_validated: bool
) -> None:
    """Notes how many tested texts have a label that is never trained on.

    Args:
        name: The task's.
        path: The file of training texts.
        parts: Labels of the training texts and of those that are tested after it, for each training.
        cross_validated: Whether one file is cut into the parts.

    Raises:
        UserError: A training has texts of one label alone, or no tested text has a label that is trained on.
    """
    more = (
        f"give more texts a label, or others to test on: classification:{path},TEST"
        if cross_validated
        else "give texts of the same labels in both files"
    )
    for trained, _ in parts:
        if len(labels := set(trained)) < 2:
            raise UserError(
                f"{path}: a fold of its cross-validation has training texts of '{labels.pop()}' alone; {more}"
            )
    tested = sum(len(part) for _, part in parts)
    unknown = sum(label not in known for trained, part in parts if (known := set(trained)) for label in part)
    if unknown == tested:
        raise UserError(
            f"{path}: no tested text has a label that a training text has, so accuracy could only be 0; {more}"
        )
    if unknown:
        note(
            f"task {name}: {unknown:,} of {tested:,} tested texts have a label without a training text, and count as wrong"
        )
