"""The DataLoader of steps: worker processes that neither start threads nor stop at the signals that the trainer handles."""

import os
from typing import Any

from torch.utils.data import DataLoader

from lightning_embed.batch import TokenBatch
from lightning_embed.datamodules.collate import Steps
from lightning_embed.datamodules.sampler import StepSampler
from lightning_embed.utils.quiet import same_process
from lightning_embed.utils.signals import ignore_in_worker


class _Loader(DataLoader[TokenBatch]):
    """Workers whose tokenizers start no threads: the workers are the parallelism, and they are forked."""

    def __iter__(self) -> Any:
        with same_process():  # the variable is for the workers alone
            os.environ["TOKENIZERS_PARALLELISM"] = "false"
            return super().__iter__()


def step_loader(steps: Steps, sampler: StepSampler, num_workers: int, pin_memory: bool) -> DataLoader[TokenBatch]:
    """Loads this rank's rows of one step at a time.

    Args:
        steps: Step -> its batch.
        sampler: Which steps, in order.
        num_workers: Worker processes; 0 reads in the training process.
        pin_memory: Whether the batches are copied to a GPU.
    """
    return _Loader(
        steps,
        batch_size=None,
        sampler=sampler,
        num_workers=num_workers,
        persistent_workers=False,
        pin_memory=pin_memory,
        worker_init_fn=ignore_in_worker,
    )
