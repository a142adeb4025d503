"""Exports a checkpoint's student as a folder that other programs read, and proves it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_embed.errors import UserError
from lightning_embed.export.texts import read_texts, standard_texts
from lightning_embed.utils.atomic import whole_folder
from lightning_embed.utils.configs import sizes_in
from lightning_embed.utils.notes import note

if TYPE_CHECKING:
    from lightning_embed.export.kinds import Kind, Proof
    from lightning_embed.export.students import Student


def export_model(
    checkpoint: list[str],
    out: str,
    dim: int | None = None,
    adapter: bool = False,
    base: str | None = None,
    space: str = "student",
    documents: str | None = None,
    dense: bool = False,
    onnx: bool = False,
    texts: str | None = None,
    overwrite: bool = False,
    config_of_checkpoint: str | None = None,
) -> float:
    """Exports, loads the export in a new process, compares, and only then puts it in place; returns the least cosine.

    Args:
        checkpoint: A .ckpt of a run, or the folder of a model; or several `TASK=CHECKPOINT` of adapters on one base, which is then stored
            once, with the adapters beside it for the reader to pick from.
        out: The folder.
        dim: Entries kept of each vector, which then has length 1 again; None: all.
        adapter: Whether to write the adapter alone, as a peft folder; if not, it is merged into its base.
        base: What exported adapters call their base, e.g. the id under which you publish it. None: of an adapter alone, the id or folder
            that the base is read from here; of several, the name of the folder that holds them and the base.
        space: `student`, or `teacher` (of several, `teacher:NAME`): vectors of the teacher's size, which may be compared with the teacher's
            own; how near they are to these on texts of the run is printed. The run needs a projection of the student's side, or a teacher
            of the student's size.
        documents: What embeds documents, in a folder whose queries the student embeds (sentence-transformers' Router): `teacher`, the
            run's own (of several, `teacher:NAME`), or a model of the same space. None: the student embeds both.
        dense: The old name of `space: teacher`.
        onnx: Whether to write onnx/model.onnx and onnx/model_quantized.onnx (int8) too.
        texts: Texts to compare on: one a line, or JSON lines with text columns; None: docstrings of Python's standard library. Where the
            run's data cannot be read, int8 ranges are taken from them too.
        overwrite: Whether a model that is there already is replaced.
        config_of_checkpoint: A run's config.yaml, in place of the checkpoint's own settings.

    Raises:
        UserError: Something is missing, or the export differs; nothing is left behind.
    """
    from lightning_embed.export.calibration import add_ranges, documents_of

    folder = Path(out).expanduser()
    check_target(folder, overwrite)
    if dense:
        note("dense is now called space: give --space teacher; dense will be removed")
        space = "teacher"
    _check_settings(len(checkpoint), adapter, space, documents, onnx)
    if base is not None and not (adapter or len(checkpoint) > 1):
        raise UserError("base: it names the base of exported adapters; give --adapter true or several checkpoints")
    compared = read_texts(Path(texts)) if texts else standard_texts()
    config = Path(config_of_checkpoint) if config_of_checkpoint else None
    kind, student = _kind(checkpoint, config, dim, adapter, base, space, documents, onnx, folder.name)

    def ranges(made: Path) -> list[str]:
        if student is None or kind.indexed is None:
            return [
                "It has no `quantization.json`: each adapter has int8 ranges of its own, in its folder if exported alone."
            ]
        own = sizes_in(student.config) if space == "student" else set()
        return [add_ranges(kind.indexed, made, lambda: documents_of(student, Path(texts) if texts else None), own)]

    least, facts = write_and_prove(kind, folder, compared, ranges)
    print(f"wrote {folder}")
    for fact in facts:
        print(fact.replace("`", ""))
    return least


def write_and_prove(
    kind: Kind, folder: Path, texts: Sequence[str], complete: Callable[[Path], list[str]] = lambda made: []
) -> Proof:
    """Writes a folder beside its place, reads it in a new process, compares, and puts it in place with its card.

    Args:
        kind: What is exported.
        folder: The place; what is there is replaced.
        texts: Texts to compare on.
        complete: Adds files to the folder before it is compared, and gives sentences about them.

    Raises:
        UserError: It cannot be written, or differs; nothing is left behind.
    """
    from lightning_embed.export.kinds import Proof

    with _in_place(folder) as made:
        kind.write(made)
        added = complete(made)
        try:
            least, facts = kind.prove(made, texts)
        except UserError as error:  # it names a folder that the user has not seen and will not find
            raise UserError(str(error).replace(str(made), str(folder)) + "; nothing was left behind") from None
        proof = Proof(least, [*facts, *added])
        (made / "README.md").write_text(kind.card(folder.name, proof.facts), encoding="utf-8")
    return proof


def _kind(
    checkpoint: list[str],
    config: Path | None,
    dim: int | None,
    adapter: bool,
    base: str | None,
    space: str,
    documents: str | None,
    onnx: bool,
    name: str,
) -> tuple[Kind, Student | None]:
    """What is exported, and the student whose run it is of; None: several."""
    from lightning_embed.export.adapters import load_tasks
    from lightning_embed.export.kinds import AdapterAlone, Model, Tasks
    from lightning_embed.export.router import Asymmetric
    from lightning_embed.export.students import read_student

    if len(checkpoint) > 1:
        return Tasks(load_tasks(checkpoint, config), dim, base or name), None
    student = read_student(Path(checkpoint[0]).expanduser(), config)
    if documents is not None:
        return Asymmetric(student, dim, space, documents), student
    return AdapterAlone(student, dim, base) if adapter else Model(student, dim, space, onnx), student


@contextmanager
def _in_place(folder: Path) -> Iterator[Path]:
    """Where to write a folder that is put in its place only if all goes well."""
    try:
        with whole_folder(folder) as made:
            yield made
    except OSError as error:
        raise UserError(f"{folder}: the model could not be written there: {error.strerror or error}") from None


def check_target(folder: Path, overwrite: bool) -> None:
    """Raises `UserError` unless a model may be written to a folder.

    Args:
        folder: Its place.
        overwrite: Whether a model that is there already is replaced.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is a file; give a folder")
    if folder.is_dir() and any(folder.iterdir()):
        if not (folder / "modules.json").is_file():
            raise UserError(f"{folder}: holds something else than a model; give another folder")
        if not overwrite:
            raise UserError(f"{folder}: holds a model already; give another folder, or --overwrite true")


def _check_settings(checkpoints: int, adapter: bool, space: str, documents: str | None, onnx: bool) -> None:
    if not re.fullmatch(r"student|teacher(:\w+)?", space):
        raise UserError(f"space: expected student, teacher or teacher:NAME, got {space!r}")
    moved = space != "student" or documents is not None
    if onnx:
        from lightning_embed.export.onnx import require_onnx

        require_onnx()
    if checkpoints > 1 and (adapter or moved or onnx):
        raise UserError("several checkpoints: space, documents, onnx and adapter are for one; leave them out")
    if adapter and (moved or onnx):
        raise UserError("adapter: a peft folder holds the adapter alone; leave space, documents and onnx out")
    if onnx and documents is not None:
        raise UserError("onnx: a folder of two models has no graph; export the student alone")
