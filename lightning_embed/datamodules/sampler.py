"""StepSampler: the numbers of the steps to read next."""

from collections.abc import Iterator

from torch.utils.data.distributed import DistributedSampler


class StepSampler(DistributedSampler[int]):
    """Numbers of the steps up to the end of the plan's epoch, each iteration from where the one before ended.

    Its length is that of the whole epoch, resumed or not: Lightning counts the batches done before the kill towards it. It does not
    ask Lightning for the epoch, which a checkpoint written as an epoch ends has counted already, or not, depending on the hook.

    It is a DistributedSampler in name, so that Lightning leaves it alone: the ranks' shares are the plan's.

    Args:
        per_epoch: Steps of an epoch.
        start: The first step, counted through all epochs.
        repeat: Whether each iteration starts anew at `start`, as evaluation does.
    """

    def __init__(self, per_epoch: int, start: int = 0, repeat: bool = False) -> None:
        self.per_epoch, self.next, self.repeat = per_epoch, start, repeat

    def set_epoch(self, epoch: int) -> None:
        """Nothing: see above."""

    def __iter__(self) -> Iterator[int]:
        first = self.next
        end = (first // self.per_epoch + 1) * self.per_epoch
        self.next = first if self.repeat else end
        return iter(range(first, end))

    def __len__(self) -> int:
        return self.per_epoch
