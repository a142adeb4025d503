"""Where ψ starts: fitted to the first texts of a run, before the first step."""

from collections.abc import Callable, Iterable, Iterator, Set

import torch
from torch import Tensor, nn

from lightning_embed.batch import TokenBatch
from lightning_embed.distributed.collectives import global_count, global_sum
from lightning_embed.distributed.tensors import shard_like, unshard
from lightning_embed.encoders.columns import encode_columns, teacher_vectors
from lightning_embed.heads.pooling import normalize
from lightning_embed.heads.projection import Projection, orthogonal_map
from lightning_embed.utils.activity import activity

TEXTS_PER_ENTRY = 1, 4
"""Texts that ψ is fitted to, for each entry of the vectors that it maps: as many as the first where the student is close to the teacher
already, as a student of its own layers is, else as the second. With fewer it fits those texts and not others."""
SHARES = (0.0, 0.1, 1.0, 3.0)
"""How much ψ = I may count against the texts."""
CLOSE = 1.0
"""The share from which on the student is close."""


class CrossProducts:
    """C = Σ y xᵀ over the texts of all ranks: x the unit vector that ψ maps, y the one that it is compared with.

    Every other batch is summed up apart, so that a ψ that is fitted to one half can be tried on the other.

    Args:
        projection: ψ.
    """

    def __init__(self, projection: Projection) -> None:
        self.direction, self.batches = projection.direction, 0
        self.halves = [torch.zeros(projection.weight.shape, device=projection.weight.device) for _ in range(2)]
        self.texts = [0, 0]

    def add(self, student: Tensor, teacher: Tensor) -> None:
        """Adds a batch; every rank must call it.

        Args:
            student: (n, D) this rank's vectors.
            teacher: (n, E) those of the same texts.
        """
        student, teacher = normalize(student.float()), normalize(teacher.float())
        x, y = (student, teacher) if self.direction == "student_to_teacher" else (teacher, student)
        half = self.batches % 2
        self.halves[half] += y.T @ x
        self.texts[half] += int(global_count(len(x), x))
        self.batches += 1

    def means(self) -> list[Tensor]:
        """(out_dim, in_dim) of each half: its C, over all ranks, divided by its texts."""
        return [global_sum(c) / max(1, n) for c, n in zip(self.halves, self.texts, strict=True)]

    def mean(self) -> Tensor:
        """(out_dim, in_dim) of both halves."""
        return global_sum(self.halves[0] + self.halves[1]) / max(1, sum(self.texts))


@torch.no_grad()
def fit_projection(
    projection: Projection, pairs: Iterable[tuple[Tensor, Tensor]], from_rank_0: Callable[[Tensor], Tensor]
) -> None:
    """Sets ψ to the orthogonal map that fits the first vectors of a run best, with a bias of 0.

        W = argmax_{W orthogonal} tr(Wᵀ (C / n + s I / D))

    Where both spaces have the same size, I counts for the share s that does best on texts that were not fitted (two-fold cross-validation):
    a student of its teacher's own layers is close to it as it is. Elsewhere s = 0. Every rank must call it, and all get the same W,
    whatever their number.

    Args:
        projection: ψ, sharded or not.
        pairs: This rank's (n, D) student and (n, E) teacher vectors of the same texts, batch by batch; no more are taken than needed.
        from_rank_0: Gives every rank the tensor of rank 0.
    """
    (outside, inside), products, share = projection.weight.shape, CrossProducts(projection), 0.0
    few, many = (count * inside for count in TEXTS_PER_ENTRY)
    looked = outside != inside
    with activity(f"fitting the projection to the first {few:,} to {many:,} texts (projection.start)"):
        for student, teacher in pairs:
            products.add(student, teacher)
            if not looked and sum(products.texts) >= few:
                looked = True
                share = float(from_rank_0(torch.tensor(best_share(*products.means()))))
                if share >= CLOSE:
                    break
            if sum(products.texts) >= many:
                break
        if outside == inside and share < CLOSE:
            share = float(from_rank_0(torch.tensor(best_share(*products.means()))))
        weight = orthogonal_map(unshard(_pulled(products.mean(), share)), unshard(projection.weight))
    found = {"weight": from_rank_0(weight), "bias": torch.zeros(len(weight))}
    own = projection.state_dict()
    projection.load_state_dict({name: shard_like(value, own[name]) for name, value in found.items()})


def best_share(one: Tensor, other: Tensor) -> float:
    """The s of `SHARES` with which the map that is fitted to one half of the texts has the highest cosines on the other, both ways.

    An orthogonal W that is fitted to one half has the mean cosine tr(Wᵀ C) on the other.

    Args:
        one: (D, D) mean cross product of a half.
        other: (D, D) that of the other; all 0: there is no other.
    """
    if not other.any():
        return 0.0
    eye = torch.eye(len(one), device=one.device)

    def score(share: float) -> float:
        return sum(
            float((orthogonal_map(_pulled(a, share), eye).to(b) * b).sum()) for a, b in ((one, other), (other, one))
        )

    return max(SHARES, key=score)


def _pulled(mean: Tensor, share: float) -> Tensor:
    """C / n + s I / D."""
    return mean + share / mean.shape[1] * torch.eye(*mean.shape, device=mean.device)


@torch.no_grad()
def vector_pairs(
    student: nn.Module, teacher: nn.Module | None, batches: Iterable[TokenBatch], roles: Set[str]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batch by batch, the (n, D) student and (n, E) teacher vectors of the same texts.

    Args:
        student: In evaluation mode.
        teacher: The teacher; None: all its vectors are stored.
        batches: On the encoders' device.
        roles: Which texts.
    """
    for batch in batches:
        wanted = [role for role in batch.student if role in roles]
        own = torch.cat(list(encode_columns(student, batch.student, wanted).values()))
        yield own, torch.cat(list(teacher_vectors(teacher, batch, wanted).values()))
