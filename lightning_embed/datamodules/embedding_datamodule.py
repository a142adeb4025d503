"""EmbeddingDataModule: sources in, batches of tokens out, the same rows in the same order however often the run was killed."""

import os
from collections.abc import Iterator
from typing import Any

import lightning.pytorch as L
from torch.utils.data import DataLoader
from torch.utils.data.distributed import DistributedSampler

from lightning_embed.batch import ANCHOR, POSITIVE, TokenBatch
from lightning_embed.datamodules.collate import Steps
from lightning_embed.datamodules.plan import Plan
from lightning_embed.datamodules.sources import Rows, Source, open_source
from lightning_embed.errors import UserError
from lightning_embed.tokenizer import TextTokenizer


class StepSampler(DistributedSampler[int]):
    """Numbers of the steps up to the end of the plan's epoch, each iteration from where the one before ended.

    Its length is that of the whole epoch, resumed or not: Lightning counts the batches done before the kill towards it. It does not
    ask Lightning for the epoch, which a checkpoint written as an epoch ends has counted already, or not, depending on the hook.

    It is a DistributedSampler in name, so that Lightning leaves it alone: the ranks' shares are the plan's.
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


class EmbeddingDataModule(L.LightningDataModule):
    """Streams rows of text as batches of tokens for the student and the teacher.

    Rows stay on disk (memory-mapped Arrow); the DataLoader's workers read and tokenise them as they are needed. Which rows are global
    step k depends on (seed, k) alone, so a run resumes to the row with another number of workers or ranks.

    Args:
        train: Sources to train on.
        validation: Sources of held-out pairs.
        test: Sources of held-out pairs, for `test` and the report at the end.
        predict: Sources of texts to embed with `predict`.
        global_batch_size: G, rows of a step over all ranks together (as long as gradients are not accumulated).
        eval_batch_size: Rows of an evaluation step over all ranks together.
        num_workers: Worker processes of each loader; 0 reads in the training process.
        seed: Which order the rows come in.
    """

    def __init__(
        self,
        train: list[Source] | None = None,
        validation: list[Source] | None = None,
        test: list[Source] | None = None,
        predict: list[Source] | None = None,
        global_batch_size: int = 64,
        eval_batch_size: int = 256,
        num_workers: int = 1,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if global_batch_size < 1 or eval_batch_size < 1:
            raise UserError(
                f"global_batch_size and eval_batch_size must be at least 1, got {global_batch_size} and {eval_batch_size}"
            )
        self.train, self.validation, self.test, self.predict = train, validation, test, predict
        self.global_batch_size, self.eval_batch_size = global_batch_size, eval_batch_size
        self.num_workers, self.seed = num_workers, seed
        self.tokenizers: dict[str, TextTokenizer] = {}
        self._opened: dict[str, list[Rows]] = {}
        self._resumed: dict[str, Any] | None = None

    def sources(self, split: str) -> list[Source]:
        """The sources of a split; subclasses that make their own data override this.

        Args:
            split: `train`, `validation`, `test` or `predict`.
        """
        return getattr(self, split) or []

    def setup(self, stage: str) -> None:
        """Opens the sources that a stage needs and takes the tokenizers from the trainer's module."""
        if self.trainer is not None:
            self.tokenizers = self.trainer.lightning_module.tokenizers  # type: ignore[assignment]
        wanted = {"fit": ("train", "validation", "test")}.get(stage, (stage.replace("validate", "validation"),))
        for split in wanted:
            self.rows(split)
        if stage != "fit" and not self.rows(wanted[0]):
            raise UserError(f"`{stage}` needs data: give data.{wanted[0]} at least one source")
        if stage == "fit" and not self.rows("train"):
            raise UserError(
                "`fit` needs data: give data.train at least one source, e.g. --data.train '[{path: pairs.jsonl}]'"
            )

    def rows(self, split: str) -> list[Rows]:
        """The opened sources of a split, opened at the first call.

        Args:
            split: `train`, `validation`, `test` or `predict`.
        """
        if split not in self._opened:
            needed = (ANCHOR,) if split == "predict" else (ANCHOR, POSITIVE)
            self._opened[split] = [open_source(source, needed) for source in self.sources(split)]
        return self._opened[split]

    @property
    def plan(self) -> Plan:
        """Which rows are training step k."""
        return Plan(tuple(len(r) for r in self.rows("train")), self.global_batch_size, self.seed)

    def _loader(self, split: str, plan: Plan, sampler: StepSampler) -> DataLoader[TokenBatch]:
        rank, world = (self.trainer.global_rank, self.trainer.world_size) if self.trainer is not None else (0, 1)
        steps = Steps(self.rows(split), plan, self.tokenizers["student"], self.tokenizers.get("teacher"), rank, world)
        if self.num_workers:
            os.environ.setdefault(
                "TOKENIZERS_PARALLELISM", "false"
            )  # the workers are the parallelism, and they are forked
        on_gpu = self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"
        return DataLoader(
            steps,
            batch_size=None,
            sampler=sampler,
            num_workers=self.num_workers,
            persistent_workers=False,
            pin_memory=on_gpu,
        )

    def train_dataloader(self) -> DataLoader[TokenBatch]:
        """Batches of the plan, from the step at which a resumed run stood."""
        plan = self.plan
        start = 0
        if self._resumed is not None:
            then, now = self._resumed["plan"], _signature(plan)
            if then != now:
                raise UserError(
                    f"the checkpoint was made with other data or batches (sizes, global_batch_size, seed = {then}, now {now}): "
                    "go on with the same, or start anew from its weights"
                )
            start = self._resumed["step"]
        return self._loader("train", plan, StepSampler(len(plan), start))

    def _eval_loader(self, split: str) -> DataLoader[TokenBatch]:
        sizes = tuple(len(r) for r in self.rows(split))
        plan = Plan(sizes, self.eval_batch_size, shuffle=False, drop_last=False)
        return self._loader(split, plan, StepSampler(len(plan), repeat=True))

    def val_dataloader(self) -> DataLoader[TokenBatch]:
        """The held-out pairs in order."""
        return self._eval_loader("validation")

    def test_dataloader(self) -> DataLoader[TokenBatch]:
        """The test pairs in order."""
        return self._eval_loader("test")

    def predict_dataloader(self) -> DataLoader[TokenBatch]:
        """The texts to embed, in order."""
        return self._eval_loader("predict")

    def state_dict(self) -> dict[str, Any]:
        """How many steps of the plan have been trained on."""
        if self.trainer is None or not self.rows("train"):
            return {}
        done = self.trainer.fit_loop.epoch_loop.batch_progress.total.processed  # type: ignore[attr-defined]
        return {"step": done, "plan": _signature(self.plan)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes up where `state_dict` stood."""
        self._resumed = state_dict or None


def _signature(plan: Plan) -> list[Any]:
    return [list(plan.sizes), plan.batch_size, plan.seed]
