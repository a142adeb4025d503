"""Several processes: collectives with exact gradients, tensors that are sharded over ranks, and how a run of several ranks fails."""

from lightning_embed.distributed.collectives import (
    Gathered,
    gather,
    global_count,
    global_mean,
    global_sum,
    rank,
    world_size,
)

__all__ = ["Gathered", "gather", "global_count", "global_mean", "global_sum", "rank", "world_size"]
