"""Another checkpoint's weights in a module that trains, for as long as they are looked at."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from lightning_embed.checkpoints.student import read_checkpoint
from lightning_embed.distributed.tensors import local, shard_like


@contextmanager
def weights_of(module: nn.Module, file: Path) -> Iterator[int]:
    """Puts a checkpoint's weights into a module, sharded over ranks or not, and its own back at the end; gives the checkpoint's step.

    Args:
        module: Of the run that wrote the checkpoint; every rank calls this.
        file: The checkpoint. What it leaves out, such as the frozen base of an adapter, stays as it is.
    """
    found = read_checkpoint(file)
    own = module.state_dict()
    kept = {name: local(own[name]).cpu().clone() for name in found["state_dict"]}
    with torch.no_grad():
        for name, value in found["state_dict"].items():
            local(own[name]).copy_(local(shard_like(value, own[name])))
    try:
        yield int(found["global_step"])
    finally:
        with torch.no_grad():
            for name, value in kept.items():
                local(own[name]).copy_(value)
