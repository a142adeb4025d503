"""Random numbers of a batch: they depend on the run's seed, the batch's number and the rank alone, so that a resumed run draws the same."""

import os
from hashlib import blake2b

import lightning.pytorch as L
import torch

from lightning_embed.compat.lightning import batch_number


def seed_batch(trainer: L.Trainer) -> None:
    """Seeds torch for a batch, so that its dropout depends on the run's seed, the batch's number and the rank alone.

    Args:
        trainer: At the start of a batch.
    """
    name = f"{os.environ.get('PL_GLOBAL_SEED', 0)} {batch_number(trainer)} {trainer.global_rank}"
    seed = int.from_bytes(blake2b(name.encode(), digest_size=7).digest(), "little")
    # not torch.manual_seed, which notes the call's stack for each kind of device, every step
    torch.default_generator.manual_seed(seed)
    if (device := trainer.strategy.root_device).type != "cpu":
        torch.get_device_module(device).manual_seed(seed)
