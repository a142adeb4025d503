"""A batch's columns as vectors: several in one go of an encoder, and the teacher's from the store where they are there."""

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn

from lightning_embed.batch import TokenBatch, Tokens
from lightning_embed.distributed.collectives import max_over_ranks


@torch.no_grad()
def teacher_vectors(teacher: nn.Module | None, batch: TokenBatch, roles: Iterable[str]) -> dict[str, Tensor]:
    """Role -> (n, E) unit vectors of the teacher: the stored ones where the batch has them, else its own.

    Args:
        teacher: The teacher; None: only stored ones are there.
        batch: B rows, on the device where the teacher runs.
        roles: Which columns.
    """
    vectors = {role: batch.teacher_vectors[role] for role in roles if role in batch.teacher_vectors}
    missing = [role for role in roles if role not in vectors]
    some = next(iter(batch.student.values()))
    someone = max_over_ranks(len(missing), some.ids.device) if getattr(teacher, "shard", False) else 0
    if someone and not missing and teacher is not None:
        teacher(Tokens(some.ids[:0], some.lengths[:0]))  # another rank runs it and needs this one's shards
    if missing and teacher is not None:
        found = encode_columns(teacher, batch.teacher, missing)
        vectors |= {role: nn.functional.normalize(v.float(), dim=-1) for role, v in found.items()}
    return vectors


def encode_columns(
    encoder: Callable[[Tokens], Tensor], columns: Mapping[str, Tokens], roles: list[str]
) -> dict[str, Tensor]:
    """Encodes several columns in one go and gives each its vectors: role -> (n, D).

    Args:
        encoder: Student or teacher, on the device of the tokens.
        columns: Role -> tokens.
        roles: Which of them.
    """
    vectors = encoder(Tokens.cat([columns[role] for role in roles]))
    return dict(zip(roles, vectors.split([len(columns[role]) for role in roles]), strict=True))
