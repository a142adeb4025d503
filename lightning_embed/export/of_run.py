"""The export at the end of a run: `model/` in its folder, if it gives the student's vectors."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from lightning_embed.encoders.text_encoder import TextEncoder
from lightning_embed.errors import UserError
from lightning_embed.evaluation.reports import notes
from lightning_embed.heads.projection import write_projection


class Export(NamedTuple):
    """What came of the export."""

    folder: str = ""
    """The model's folder; empty where there is none."""
    least: float | None = None
    """The least cosine of its vectors with the student's."""
    notes: tuple[str, ...] = ()
    """What to say of it."""
    failed: str = ""
    """Why there is none."""


def export_run(
    student: TextEncoder,
    projections: Mapping[str, dict[str, Tensor]],
    folder: Path,
    texts: Sequence[str],
    documents: Sequence[str] = (),
    sizes: Collection[int] = (),
) -> Export:
    """Writes `model/`, if it gives the student's vectors, and the projection into a run's folder.

    Args:
        student: The student, whole.
        projections: ψ's weights, by the teacher's name.
        folder: The run's folder.
        texts: Texts to compare on.
        documents: Documents that int8 ranges are taken from.
        sizes: Sizes that get ranges, beside D and its halves.
    """
    from lightning_embed.encoders.copies import as_exported
    from lightning_embed.export.calibration import add_ranges
    from lightning_embed.export.folder import export_proved

    found: list[str] = []

    def complete(made: Path) -> None:
        found.append(add_ranges(as_exported(student), made, lambda: documents, sizes))

    for name, projection in projections.items():
        write_projection(projection, folder, name)
    try:
        least = export_proved(student, folder / "model", texts, complete)
    except UserError as error:
        stale = (folder / "model").is_dir()
        return Export(failed=str(error) + "; model/ is as an earlier export left it" * stale)
    found = [notes.verified(least), *found]
    if student.export_rope_theta is not None:
        found.append(notes.other_theta(student.export_rope_theta))
    return Export(str(folder / "model"), least, tuple(found))
