"""StepSampler: the numbers of the steps to read next."""

from collections.abc import Callable, Iterator

from torch.utils.data.distributed import DistributedSampler


class StepSampler(DistributedSampler[int]):
    """Numbers of the steps from the first that is not yet done, which it asks for whenever it is iterated.

    It keeps nothing, so it does not matter how often Lightning iterates it, nor which batches were read ahead and thrown away: at the
    start, at a resume, in each epoch, with `limit_train_batches` or `reload_dataloaders_every_n_epochs`. Its length is that of the whole
    epoch, resumed or not: Lightning counts the batches done before the kill towards it, and stops by that count.

    It is a DistributedSampler in name, so that Lightning leaves it alone: the ranks' shares are the plan's.

    Args:
        per_epoch: Steps of an epoch.
        done: Tells how many steps are done, through all epochs; None: evaluation, which starts from the beginning each time.
    """

    def __init__(self, per_epoch: int, done: Callable[[], int] | None = None) -> None:
        self.per_epoch, self.done = per_epoch, done

    def set_epoch(self, epoch: int) -> None:
        """Nothing: see above."""

    def __iter__(self) -> Iterator[int]:
        first = self.done() if self.done is not None else 0
        return iter(range(first, first + self.per_epoch))

    def __len__(self) -> int:
        return self.per_epoch
