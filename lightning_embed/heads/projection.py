"""ψ: the linear map between the student's vectors and the teacher's."""

import pickle
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_embed.errors import UserError, first_line
from lightning_embed.utils.atomic import whole_file
from lightning_embed.utils.described import Described
from lightning_embed.utils.numbers import check_number
from lightning_embed.utils.teacher_names import ONE

PRIOR = 1e-3
"""Weight of the prior in `orthogonal_map`: of the cosine it costs less than 0.001, and rounding in C no longer turns W."""


def orthogonal_map(cross: Tensor, prior: Tensor) -> Tensor:
    """The orthogonal W that brings vectors x nearest to vectors y: argmax tr(WᵀC) = UVᵀ, where C = Σ y xᵀ = UΣVᵀ.

    Schönemann 1966, *A generalized solution of the orthogonal Procrustes problem*. For unit vectors that is the greatest sum of cosines
    φ(Wx, y), and W leaves the cosines among the x as they are (as long as y has as many entries). Where C says nothing, in directions
    that no x has, `prior` does, with a weight of `PRIOR` of C's norm.

    Args:
        cross: (out_dim, in_dim) C.
        prior: (out_dim, in_dim) any W.

    Returns:
        (out_dim, in_dim) of orthonormal columns, or rows where out_dim is less; float32.
    """
    c, w = cross.double(), prior.double()
    u, _, vh = torch.linalg.svd(c + PRIOR * c.norm().clamp(min=1e-30) / w.norm() * w, full_matrices=False)
    return (u @ vh).float()


class Projection(Described, nn.Module):
    """ψ(z) = Wz + b, which brings student and teacher vectors into one space so that they can be compared.

    Section 3.1 of *jina-embeddings-v5-text* (arXiv 2602.15547) maps the student's vectors, R^D → R^E, and trains the map with it; the
    other three choices (teacher's side, frozen) are those of its ablation. A truncated student, k < D entries, is mapped by the
    first k columns of W (student's side) or compared with the first k entries of ψ(teacher), so truncation adds no parameters.

    The paper starts ψ at random, and so turns the student into a random space first, which tens of thousands of steps make good. Here
    W starts as the orthogonal map that brings the vectors of the run's first texts nearest to each other (`orthogonal_map`): the student
    keeps the distances that it knows, and a few hundred steps are enough.

    Args:
        in_dim: Size of the vectors that are mapped; None: taken from the module's encoders.
        out_dim: Size of the result; None: likewise.
        direction: Whose vectors are mapped.
        trainable: Whether W and b train; a frozen map stays as it starts.
        start: Where W and b start: `fitted` to the vectors of the run's first texts, by `fit`; or `random`.
        weights: Where they start instead: the folder of a run that trained a projection, one of its checkpoints, or a safetensors file
            of `weight` and `bias`.
    """

    def __init__(
        self,
        in_dim: int | None = None,
        out_dim: int | None = None,
        direction: Literal["student_to_teacher", "teacher_to_student"] = "student_to_teacher",
        trainable: bool = True,
        start: Literal["fitted", "random"] = "fitted",
        weights: str | None = None,
    ) -> None:
        super().__init__()
        check_number("projection: in_dim", in_dim, least=1, whole=True, optional=True)
        check_number("projection: out_dim", out_dim, least=1, whole=True, optional=True)
        self.direction, self.trainable, self.start, self.weights = direction, trainable, start, weights
        if in_dim is not None and out_dim is not None:
            self._create(in_dim, out_dim)

    def _create(self, in_dim: int, out_dim: int) -> None:
        linear = nn.Linear(in_dim, out_dim)
        self.weight, self.bias = linear.weight, linear.bias
        self.requires_grad_(self.trainable)

    def fit_to(self, student_dim: int, teacher_dim: int) -> None:
        """Creates W and b for these sizes, or checks that they are right if they are there already; reads `weights`, if they are given.

        Args:
            student_dim: D.
            teacher_dim: E.

        Raises:
            UserError: If the sizes given at construction, or those of `weights`, are others, or `weights` cannot be read.
        """
        sizes = (student_dim, teacher_dim) if self.direction == "student_to_teacher" else (teacher_dim, student_dim)
        if not hasattr(self, "weight"):
            self._create(*sizes)
        self._check(self.weight, sizes, "projection")
        if self.weights is not None:
            given = read_projection(Path(self.weights).expanduser())
            self._check(given["weight"], sizes, f"projection: {self.weights}")
            self.load_state_dict(given)

    def _check(self, weight: Tensor, sizes: tuple[int, int], what: str) -> None:
        have = tuple(weight.shape)[::-1]
        if have != sizes:
            raise UserError(
                f"{what} maps {have[0]} -> {have[1]}, but the {self.direction} direction needs {sizes[0]} -> {sizes[1]}"
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


FILE = "projection.safetensors"
"""What a run calls its projection."""


def read_projection(path: Path) -> dict[str, Tensor]:
    """W as `weight` and b as `bias`.

    Args:
        path: A run's folder with projection.safetensors, such a file, or a Lightning checkpoint.

    Raises:
        UserError: There is none, or it cannot be read.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    file = path / FILE if path.is_dir() else path
    several = sorted(path.glob("projection.*.safetensors")) if path.is_dir() and not file.is_file() else []
    if several:
        raise _of_several(path, [one.name.split(".")[1] for one in several])
    if not file.is_file():
        raise UserError(
            f"projection: weights: expected {FILE} in a run's folder, or a checkpoint; {file} does not exist"
        )
    try:
        if file.suffix == ".safetensors":
            state = load_file(file)
        else:
            whole = torch.load(file, map_location="cpu", weights_only=True, mmap=True)["state_dict"]
            names = {key.split(".")[1] for key in whole if key.startswith("projection.") and key.count(".") == 2}
            if names and "projection.weight" not in whole:
                raise _of_several(file, sorted(names))
            state = {name: whole[f"projection.{name}"] for name in ("weight", "bias") if f"projection.{name}" in whole}
    except (OSError, SafetensorError, RuntimeError, pickle.UnpicklingError, KeyError, TypeError) as error:
        raise UserError(f"projection: {file} cannot be read ({first_line(error)})") from None
    if set(state) != {"weight", "bias"}:
        raise UserError(f"projection: expected weight and bias in {file}, got {', '.join(state) or 'none'}")
    return state


def _of_several(given: Path, names: list[str]) -> UserError:
    return UserError(
        f"projection: weights: {given} has the projections of several teachers ({', '.join(names)}); give the file of one in its run's "
        f"folder, such as {projection_file(names[0])}"
    )


def projection_file(teacher: str) -> str:
    """What a run calls the projection of a teacher.

    Args:
        teacher: The teacher's name; a lone one's is empty.
    """
    return f"projection.{teacher}.safetensors" if teacher else FILE


def write_projection(state: dict[str, Tensor], folder: Path, teacher: str = ONE) -> None:
    """Writes W and b for a later run that starts from them.

    Args:
        state: ψ's state dict, whole.
        folder: The run's folder.
        teacher: The teacher's name, where there are several.
    """
    from safetensors.torch import save_file

    with whole_file(folder / projection_file(teacher)) as partial:
        save_file({name: value.contiguous() for name, value in state.items()}, partial)
