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

TEXTS_PER_ENTRY = 4
"""Texts that ψ is fitted to, for each entry of the vectors that it maps: with fewer it fits those texts and not others."""


@torch.no_grad()
def fit_projection(
    projection: Projection, pairs: Iterable[tuple[Tensor, Tensor]], from_rank_0: Callable[[Tensor], Tensor]
) -> None:
    """Sets ψ to the orthogonal map that fits the first vectors of a run best, with a bias of 0.

    Every rank must call it, and all get the same W, whatever their number.

    Args:
        projection: ψ, sharded or not.
        pairs: This rank's (n, D) student and (n, E) teacher vectors of the same texts, batch by batch; no more are taken than needed.
        from_rank_0: Gives every rank the tensor of rank 0.
    """
    texts = TEXTS_PER_ENTRY * projection.weight.shape[1]
    with activity(f"fitting the projection to the first {texts:,} texts (projection.start)"):
        weight = orthogonal_map(unshard(cross_products(projection, pairs, texts)), unshard(projection.weight))
    found = {"weight": from_rank_0(weight), "bias": torch.zeros(len(weight))}
    own = projection.state_dict()
    projection.load_state_dict({name: shard_like(value, own[name]) for name, value in found.items()})


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


def cross_products(projection: Projection, pairs: Iterable[tuple[Tensor, Tensor]], texts: int) -> Tensor:
    """(out_dim, in_dim) C = Σ y xᵀ over the texts of all ranks: x the unit vector that ψ maps, y the one that it is compared with.

    Args:
        projection: ψ.
        pairs: As for `fit_projection`.
        texts: The least number of texts, over all ranks, if there are that many.
    """
    cross, seen = torch.zeros(projection.weight.shape, device=projection.weight.device), 0
    for pair in pairs:
        student, teacher = (normalize(vectors.float()) for vectors in pair)
        x, y = (student, teacher) if projection.direction == "student_to_teacher" else (teacher, student)
        cross += y.T @ x
        seen += int(global_count(len(x), x))
        if seen >= texts:
            break
    return global_sum(cross)
