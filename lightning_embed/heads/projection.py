"""ψ: the linear map between the student's vectors and the teacher's."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_embed.errors import UserError


class Projection(nn.Module):
    """ψ(z) = Wz + b, which brings student and teacher vectors into one space so that they can be compared.

    Section 3.1 of *jina-embeddings-v5-text* (arXiv 2602.15547) maps the student's vectors, R^D → R^E, and trains the map with it; the
    other three choices (teacher's side, frozen) are those of its ablation. A truncated student, k < D entries, is mapped by the
    first k columns of W (student's side) or compared with the first k entries of ψ(teacher), so truncation adds no parameters.

    Args:
        in_dim: Size of the vectors that are mapped; None: taken from the module's encoders.
        out_dim: Size of the result; None: likewise.
        direction: Whose vectors are mapped.
        trainable: Whether W and b train; a frozen map keeps its random start.
    """

    def __init__(
        self,
        in_dim: int | None = None,
        out_dim: int | None = None,
        direction: Literal["student_to_teacher", "teacher_to_student"] = "student_to_teacher",
        trainable: bool = True,
    ) -> None:
        super().__init__()
        self.direction, self.trainable = direction, trainable
        if in_dim is not None and out_dim is not None:
            self._create(in_dim, out_dim)

    def _create(self, in_dim: int, out_dim: int) -> None:
        linear = nn.Linear(in_dim, out_dim)
        self.weight, self.bias = linear.weight, linear.bias
        self.requires_grad_(self.trainable)

    def fit_to(self, student_dim: int, teacher_dim: int) -> None:
        """Creates W and b for these sizes, or checks that they are right if they are there already.

        Args:
            student_dim: D.
            teacher_dim: E.

        Raises:
            UserError: If the sizes given at construction are others.
        """
        sizes = (student_dim, teacher_dim) if self.direction == "student_to_teacher" else (teacher_dim, student_dim)
        if not hasattr(self, "weight"):
            self._create(*sizes)
        elif tuple(self.weight.shape) != sizes[::-1]:
            have = tuple(self.weight.shape)[::-1]
            raise UserError(
                f"projection maps {have[0]} -> {have[1]}, but the {self.direction} direction needs {sizes[0]} -> {sizes[1]}"
            )

    def forward(self, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
        """Both vectors in the space where they are compared, in at least float32.

        Args:
            student: (n, k) student vectors or their first k entries.
            teacher: (n, E) teacher vectors.

        Returns:
            (n, E) twice for the student's side, (n, k) twice for the teacher's.
        """
        wide = torch.promote_types(student.dtype, torch.float32)
        student, teacher, weight, bias = (x.to(wide) for x in (student, teacher, self.weight, self.bias))
        with torch.autocast(student.device.type, enabled=False):
            k = student.shape[-1]
            if self.direction == "student_to_teacher":
                return F.linear(student, weight[:, :k], bias), teacher
            return student, F.linear(teacher, weight[:k], bias[:k])
