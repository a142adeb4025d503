"""Where ψ starts: fitted to the first texts of a run, before the first step."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import lightning.pytorch as L
import torch

from lightning_embed.batch import TokenBatch
from lightning_embed.distributed.collectives import global_count, global_sum
from lightning_embed.distributed.tensors import shard_like, unshard
from lightning_embed.encoders.columns import split, teacher_vectors
from lightning_embed.heads.pooling import normalize
from lightning_embed.heads.projection import Projection, orthogonal_map
from lightning_embed.utils.notes import note

if TYPE_CHECKING:
    from lightning_embed.module import EmbeddingModule

TEXTS_PER_ENTRY = 4
"""Texts that ψ is fitted to, for each entry of the vectors that it maps: with fewer it fits those texts and not others."""


@torch.no_grad()
def start_projection(module: "EmbeddingModule", trainer: L.Trainer) -> None:
    """Fits ψ to the first batches of a run that begins, unless its settings say otherwise.

    The run then trains on the same batches: none is left out. Every rank must call it, and all get the same W, whatever their number.

    Args:
        module: Its student, teacher and projection.
        trainer: At the start of training.
    """
    projection = module.projection
    if projection is None or projection.start != "fitted" or projection.weights:
        return
    if trainer.global_step or not module.teacher_roles:
        return
    texts = TEXTS_PER_ENTRY * projection.weight.shape[1]
    note(f"projection: fitted to the first {texts:,} texts before the first step (projection.start)")
    training = module.student.training
    module.student.eval()
    with trainer.precision_plugin.forward_context():
        cross = cross_products(module, projection, trainer.train_dataloader, texts)  # type: ignore[arg-type]
    module.student.train(training)
    weight = orthogonal_map(unshard(cross), unshard(projection.weight))
    found = {"weight": trainer.strategy.broadcast(weight), "bias": torch.zeros(len(weight))}
    own = projection.state_dict()
    projection.load_state_dict({name: shard_like(value, own[name]) for name, value in found.items()})


def cross_products(
    module: "EmbeddingModule", projection: Projection, batches: Iterable[TokenBatch], texts: int
) -> torch.Tensor:
    """(out_dim, in_dim) C = Σ y xᵀ over texts, all ranks' together: x the unit vector that ψ maps, y the one that it is compared with.

    Args:
        module: Its student and teacher; the roles are those whose teacher vectors the losses need.
        projection: ψ.
        batches: This rank's.
        texts: How many at least, over all ranks, if there are that many.
    """
    cross, seen, wanted = torch.zeros(projection.weight.shape, device=module.device), 0, module.teacher_roles
    for batch in batches:
        batch = module.transfer_batch_to_device(batch, module.device, 0)
        roles = [role for role in batch.student if role in wanted]
        student = torch.cat(list(split(module.student, batch.student, roles).values()))
        teacher = torch.cat(list(teacher_vectors(module.teacher, batch, roles).values()))
        pair = normalize(student.float()), normalize(teacher.float())
        x, y = pair if projection.direction == "student_to_teacher" else pair[::-1]
        cross += y.T @ x
        seen += int(global_count(len(x), x))
        if seen >= texts:
            break
    return global_sum(cross)
