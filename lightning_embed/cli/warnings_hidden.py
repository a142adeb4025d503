"""Remarks of Lightning and torch that are hidden, because a user can do nothing about them."""

import warnings

LOUD = (
    "lightning.pytorch.utilities.rank_zero",
    "lightning.fabric.utilities.seed",
    "lightning.pytorch.trainer.connectors.checkpoint_connector",
)
"""Loggers of Lightning's whose remarks are hidden."""


def ignore_warnings() -> None:
    """Hides warnings that a user can do nothing about."""
    for pattern in (
        ".*does not have many workers.*",
        ".*`isinstance\\(treespec.*",
        ".*litlogger.*",
        ".*GPU available but not used.*",
        ".*Total length of `.*` across ranks is zero.*",
        ".*your dataloader is not resumable.*",  # it is: its state is in the data module
        ".*It is recommended to use `self.log\\(.*sync_dist=True.*",  # scores of pairs are of all ranks already
        ".*You requested to overfit but enabled.*",  # the order of the rows is the data module's
        ".*torch.distributed is disabled, unavailable or uninitialized.*",  # one process reads a sharded checkpoint
    ):
        warnings.filterwarnings("ignore", pattern)
    warnings.filterwarnings(
        "ignore",
        ".*`lr_scheduler.step\\(\\)` before.*|.*Checkpoint directory.*|.*Found .* module\\(s\\) in eval mode.*",
    )
