"""What can be exported: a model, an adapter alone, several adapters beside their base. Each writes a folder, proves it and describes it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from lightning_embed.encoders.copies import as_exported, merged
from lightning_embed.encoders.pretrained import folder_bytes
from lightning_embed.encoders.text_encoder import TextEncoder
from lightning_embed.errors import UserError
from lightning_embed.export import adapters, onnx
from lightning_embed.export.folder import expected_vectors, export_encoder, verify_folder
from lightning_embed.export.model_card import model_card, public_name
from lightning_embed.export.readers import by_rules, commands
from lightning_embed.export.students import Student
from lightning_embed.export.teacher_space import in_teacher_space, nearness_line, teacher_named
from lightning_embed.utils.configs import arguments_of, teacher_in
from lightning_embed.utils.notes import note


class Proof(NamedTuple):
    """What a folder gave when it was read in a new process."""

    least: float
    """The least cosine of its vectors with the checkpoint's."""
    facts: list[str]
    """Sentences about it, for the model card and the user."""


class Kind(Protocol):
    """What is exported."""

    @property
    def indexed(self) -> TextEncoder | None:
        """What embeds documents, and has its int8 ranges in the folder; None: it gets none."""

    def write(self, folder: Path) -> None:
        """Writes the folder.

        Args:
            folder: Where; not there yet, or empty.

        Raises:
            UserError: It cannot be exported.
        """

    def prove(self, folder: Path, texts: Sequence[str]) -> Proof:
        """Reads the folder in a new process and compares.

        Args:
            folder: What `write` wrote.
            texts: Texts to compare on.

        Raises:
            UserError: Some vector differs, or the folder does not load.
        """

    def card(self, name: str, facts: list[str]) -> str:
        """The model card.

        Args:
            name: The folder's name.
            facts: What `prove` found.
        """


class Model:
    """A whole model, an adapter merged into its base.

    Args:
        student: What is exported.
        dim: Entries kept of each vector; None: the student's.
        space: Whose space its vectors are in: `student`, `teacher` or `teacher:NAME`.
        graphs: Whether to write ONNX graphs too.
    """

    def __init__(self, student: Student, dim: int | None, space: str, graphs: bool) -> None:
        self.student, self.graphs = student, graphs
        self.teacher = teacher_named(space)
        own = student.encoder if self.teacher is None else in_teacher_space(student, self.teacher)
        self.encoder = _cut(as_exported(own), dim)
        self.merged = merged(self.encoder)
        self.servers: list[str] = []

    @property
    def indexed(self) -> TextEncoder | None:
        """The model."""
        return self.merged

    def write(self, folder: Path) -> None:
        """Writes a sentence-transformers folder, and the graphs within it."""
        export_encoder(self.merged, folder)
        if self.graphs:
            onnx.export_onnx(self.merged, folder)
        self.servers = commands(folder)

    def prove(self, folder: Path, texts: Sequence[str]) -> Proof:
        """Compares with the vectors of the checkpoint, in which the adapter is not merged."""
        wanted = expected_vectors(self.encoder, texts)
        least = verify_folder(folder, texts, wanted)
        facts = [_proved("it gave the vectors of the checkpoint", texts, least)]
        if self.graphs:
            found = onnx.verify_onnx(self.merged, folder, texts, wanted)
            facts += [
                f"`{graph}`, run by onnxruntime in a new process: least cosine {c:.6f}." for graph, c in found.items()
            ]
            facts += onnx.limits(self.merged)
        return Proof(least, [*facts, *by_rules(folder), *self.nearness()])

    def nearness(self) -> list[str]:
        """How near it is to the teacher, of one in the teacher's space."""
        return [] if self.teacher is None else [nearness_line(self.student, self.encoder, self.teacher)]

    def card(self, name: str, facts: list[str]) -> str:
        """With the run's settings and scores."""
        if self.teacher is not None:
            of = arguments_of(teacher_in(self.student.config.get("model"), self.teacher))
            named = public_name(of.get("model") or of.get("name") or "the run's teacher")
            facts = [
                f"Its vectors are in the space of its teacher, `{named}`: compare them with the teacher's own.",
                *facts,
            ]
        usage = [line.replace("FOLDER", name) for line in self.servers]
        return model_card(self.merged, name, self.student.config, self.student.run_folder, facts, usage)


class AdapterAlone:
    """An adapter as a peft folder, without its base.

    Args:
        student: What is exported; its `export_rope_theta` is left out, for a peft folder has no θ.
        dim: Entries kept of each vector; None: the student's.
        base: What the folder calls the base; None: the name that it is read by here.
    """

    def __init__(self, student: Student, dim: int | None, base: str | None) -> None:
        self.student, self.encoder, self.base = student, _cut(student.encoder, dim), base

    @property
    def indexed(self) -> TextEncoder | None:
        """The adapter on its base."""
        return self.encoder

    def write(self, folder: Path) -> None:
        """Writes a peft folder, which sentence-transformers reads too."""
        adapters.export_adapter(self.encoder, folder, self.base)

    def prove(self, folder: Path, texts: Sequence[str]) -> Proof:
        """Compares with the vectors of the checkpoint, on the base as it is here."""
        with adapters.on_local_base(self.encoder, folder) as made:
            least = verify_folder(made, texts, expected_vectors(self.encoder, texts))
        if self.base is None and self.encoder.is_local:
            note(
                "adapter_config.json names the base by its path on this machine; before you publish the adapter, export it with --base "
                "and the name that others will find its base by"
            )
        size = f"The adapter alone, {folder_bytes(folder) / 1e6:.1f} MB; its base is `{self.base_name}`."
        return Proof(least, [_proved("it gave the vectors of the checkpoint", texts, least), size])

    @property
    def base_name(self) -> str:
        """What readers of the card call the base."""
        return self.base or public_name(self.encoder.model)

    def card(self, name: str, facts: list[str]) -> str:
        """With the run's settings and scores."""
        return model_card(
            self.encoder, name, self.student.config, self.student.run_folder, facts, adapter_on=self.base_name
        )


class Tasks:
    """Several adapters beside the base that they share, stored once; the reader picks one.

    Args:
        students: Task -> student, as `adapters.load_tasks` gives them.
        dim: Entries kept of each vector; None: the students'.
        base: What the adapters call the model that they are beside.
    """

    def __init__(self, students: dict[str, TextEncoder], dim: int | None, base: str) -> None:
        self.base = base
        self.encoders = {task: _cut(as_exported(encoder), dim) for task, encoder in students.items()}

    @property
    def indexed(self) -> TextEncoder | None:
        """None: each adapter has ranges of its own, which its folder holds if it is exported alone."""
        return None

    def write(self, folder: Path) -> None:
        """Writes the base as a sentence-transformers folder, and each adapter in a folder within it."""
        adapters.export_tasks(self.encoders, folder, self.base)

    def prove(self, folder: Path, texts: Sequence[str]) -> Proof:
        """Compares each task's vectors with those of its checkpoint."""
        wanted = {
            f"{task} {role}": vectors
            for task, encoder in self.encoders.items()
            for role, vectors in expected_vectors(encoder, texts).items()
        }
        least = adapters.verify_tasks(folder, texts, wanted)
        what = f"each of the adapters {', '.join(self.encoders)} gave the vectors of its checkpoint"
        return Proof(least, [_proved(what, texts, least)])

    def card(self, name: str, facts: list[str]) -> str:
        """Of the base, with how to pick a task."""
        first = next(iter(self.encoders.values()))
        return model_card(first, name, {}, None, facts, adapters.usage_of_tasks(name, list(self.encoders)))


def _cut(encoder: TextEncoder, dim: int | None) -> TextEncoder:
    if dim is not None and not 1 <= dim <= encoder.dim:
        raise UserError(f"dim: the student has {encoder.dim} dims, so give 1 to {encoder.dim}, got {dim}")
    encoder.dim = dim or encoder.dim
    return encoder


def _proved(what: str, texts: Sequence[str], least: float) -> str:
    return (
        f"Loaded by sentence-transformers in a new process, {what} on {len(texts)} texts under each prompt: "
        f"least cosine {least:.6f}."
    )
