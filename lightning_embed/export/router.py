"""Two encoders of one space as one folder: sentence-transformers' Router, queries by the one and documents by the other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lightning_embed.encoders.pretrained import folder_bytes
from lightning_embed.encoders.text_encoder import TextEncoder
from lightning_embed.errors import UserError
from lightning_embed.evaluation.of_run import teacher_of
from lightning_embed.export.folder import expected_vectors, save_modules, saved, stock_modules, verify_folder
from lightning_embed.export.kinds import Model, Proof
from lightning_embed.export.model_card import public_name
from lightning_embed.export.students import Student
from lightning_embed.export.teacher_space import teacher_named


class Asymmetric(Model):
    """A student for queries and another model, its teacher, for documents.

    Args:
        student: Embeds queries.
        dim: Entries kept of each vector; None: all.
        space: As for `Model`.
        documents: What embeds documents: `teacher` or `teacher:NAME`, the run's, or a model as `TextEncoder` takes it.

    Raises:
        UserError: Their vectors have different sizes, or the other model cannot be read.
    """

    def __init__(self, student: Student, dim: int | None, space: str, documents: str) -> None:
        super().__init__(student, dim, space, graphs=False)
        self.documents = _documents(student, documents)
        whole = self.encoder.dim if dim is None else self.documents.dim
        if whole != self.documents.dim or (dim or 0) > self.documents.dim:
            hint = "; give --space teacher" if self.teacher is None else ""
            raise UserError(
                f"documents: the student gives vectors of {self.encoder.dim} dims and '{self.documents.model}' of "
                f"{self.documents.dim}, which cannot be compared{hint}"
            )
        self.documents.dim = self.encoder.dim

    @property
    def indexed(self) -> TextEncoder | None:
        """The other model."""
        return self.documents

    def write(self, folder: Path) -> None:
        """Writes a Router folder of stock modules."""
        export_router(self.merged, self.documents, folder)

    def prove(self, folder: Path, texts: Sequence[str]) -> Proof:
        """Compares queries with the checkpoint's vectors, and documents with the other model's."""
        wanted = {role: vectors for role, vectors in expected_vectors(self.documents, texts).items() if role != "query"}
        wanted["query"] = self.encoder.encode(texts, "query").numpy()
        least = verify_folder(folder, texts, wanted)
        other = public_name(self.documents.model)
        facts = [
            f"Queries are embedded by the student, documents by `{other}` ({folder_bytes(folder) / 1e6:.1f} MB together).",
            f"Loaded by sentence-transformers in a new process, it gave the vectors of the checkpoint for {len(texts)} queries and "
            f"those of `{other}` for as many documents: least cosine {least:.6f}.",
        ]
        return Proof(least, facts + self.nearness())


def _documents(student: Student, documents: str) -> TextEncoder:
    name = teacher_named(documents)
    if name is None:
        return TextEncoder(documents).eval().requires_grad_(False)
    try:
        teacher = None if student.checkpoint is None else teacher_of(student.checkpoint, student.config_file, name)
    except UserError as error:
        raise UserError(f"documents: {error}") from None
    if not isinstance(teacher, TextEncoder):
        raise UserError("documents: teacher: the run has no teacher that can embed; give a model's folder or id")
    return teacher


def export_router(queries: TextEncoder, documents: TextEncoder, folder: Path) -> None:
    """Writes two encoders as one sentence-transformers folder, each with its own prompt and length.

    Args:
        queries: Embeds queries.
        documents: Embeds documents, and texts that are neither, each with the prompt that it has for them.
        folder: Where.

    Raises:
        UserError: It cannot be written.
    """
    from sentence_transformers.base.modules import Router

    encoders = {"query": queries, "document": documents}
    with saved(folder) as (made, plain):
        routes = {role: stock_modules(encoder, plain / role) for role, encoder in encoders.items()}
        router = Router.for_query_document(routes["query"], routes["document"])  # type: ignore[arg-type]
        prompts = documents.tokenizer.prompts | {"query": queries.tokenizer.prompts.get("query", "")}
        save_modules([router], prompts, made)
