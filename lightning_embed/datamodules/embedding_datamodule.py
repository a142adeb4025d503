"""EmbeddingDataModule: sources in, batches of tokens out, the same rows in the same order however often the run was killed."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any, Literal

import lightning.pytorch as L
from torch.utils.data import DataLoader

from lightning_embed.batch import TokenBatch
from lightning_embed.compat.lightning import batches_done, steps_done
from lightning_embed.datamodules.collate import Steps, without_duplicates
from lightning_embed.datamodules.left_out import notes_at_start, report_lines
from lightning_embed.datamodules.loader import step_loader
from lightning_embed.datamodules.mixture import Mixture, turns
from lightning_embed.datamodules.no_duplicates import Dealt
from lightning_embed.datamodules.plan import Plan
from lightning_embed.datamodules.sampler import StepSampler
from lightning_embed.datamodules.signature import require_same, signature
from lightning_embed.datamodules.sources.bad_rows import BadRows
from lightning_embed.datamodules.sources.given import Sources, as_sources
from lightning_embed.datamodules.sources.rows import Rows
from lightning_embed.datamodules.sources.source import Source
from lightning_embed.datamodules.splits import Splits
from lightning_embed.datamodules.teacher_store.lookup import TeacherLookup, open_lookup
from lightning_embed.datamodules.teacher_texts import Wanted, check_teachers, count_stored, coverage_line, wanted_roles
from lightning_embed.errors import UserError
from lightning_embed.losses.requirements import Given
from lightning_embed.tokenizer import TextTokenizer
from lightning_embed.utils.notes import note
from lightning_embed.utils.numbers import check_number
from lightning_embed.utils.teacher_names import ONE, by_name, teachers_among


class EmbeddingDataModule(L.LightningDataModule):
    """Streams rows of text as batches of tokens for the student and the teacher.

    Rows stay on disk (memory-mapped Arrow); the DataLoader's workers read and tokenise them as they are needed. Which rows are global
    step k depends on (seed, k) alone, so a run resumes to the row with another number of workers or ranks. A batch is of one source.

    Args:
        train: Sources to train on: a path, a source's settings, or a list of these (one source each); in Python also rows: a list of
            dicts, a data frame or a `datasets.Dataset`.
        validation: Sources of held-out rows, each scored by its task.
        test: Sources of held-out rows, for `test` and the report at the end.
        predict: Sources of texts to embed with `predict`.
        global_batch_size: G, rows of a step over all ranks together (as long as gradients are not accumulated).
        eval_batch_size: Rows of an evaluation step over all ranks together.
        mixture: How often each training source has its turn: by `size` (each row once an epoch, times the source's weight), by
            `weight`, by `temperature` (between the two), or `round_robin` (strictly in turn).
        mixture_temperature: T ≥ 1 of `mixture: temperature`: 1 is by size, infinity by weight.
        no_duplicates: Keeps equal texts out of a batch, by moving rows between near batches of their source.
        on_bad_row: `error` stops at the first row that cannot be used; `skip` leaves such rows out and lists them in bad_rows.jsonl.
        max_bad_share: The share of a source's rows, 0 to 1, that may be left out.
        cache_tokens: Tokenises all training texts once, as the run starts, into the user's cache folder; else the workers do it each time.
        holdout: Share of each training source's rows, 0 to 1 (not included), that is held out for validation and test where these are not
            given. No text of a held-out row is in a training row, whatever its role, case, white space and punctuation.
        num_workers: Worker processes of each loader; 0 reads in the training process.
        seed: Which order the rows come in.
        teacher_store: Folder of stored teacher vectors, which `cache` fills and `fit` uses; None: the user's cache folder; `off`: no
            stored vector is used.
    """

    def __init__(
        self,
        train: Sources = None,
        validation: Sources = None,
        test: Sources = None,
        predict: Sources = None,
        global_batch_size: int = 64,
        eval_batch_size: int = 256,
        mixture: Mixture = "size",
        mixture_temperature: float = 2.0,
        no_duplicates: bool = False,
        on_bad_row: Literal["error", "skip"] = "error",
        max_bad_share: float = 0.01,
        cache_tokens: bool = False,
        holdout: float = 0.0,
        num_workers: int = 1,
        seed: int = 0,
        teacher_store: str | None = None,
    ) -> None:
        super().__init__()
        check_number("global_batch_size", global_batch_size, least=1, whole=True)
        check_number("eval_batch_size", eval_batch_size, least=1, whole=True)
        check_number("num_workers", num_workers, least=0, whole=True)
        check_number("seed", seed, whole=True)
        if mixture_temperature != inf:
            check_number("mixture_temperature", mixture_temperature, least=1)
        check_number("holdout", holdout, least=0, below=1)
        self.train, self.validation = as_sources(train, "train"), as_sources(validation, "validation")
        self.test, self.predict = as_sources(test, "test"), as_sources(predict, "predict")
        self.global_batch_size, self.eval_batch_size = global_batch_size, eval_batch_size
        self.mixture, self.mixture_temperature, self.no_duplicates = mixture, mixture_temperature, no_duplicates
        self.cache_tokens, self.holdout = cache_tokens, holdout
        if holdout and self.validation and self.test:
            raise UserError(
                "holdout: validation and test are both given, so there is nothing to hold rows out for; leave it out"
            )
        self.bad_rows = BadRows(on_bad_row, max_bad_share)
        self.num_workers, self.seed, self.teacher_store = num_workers, seed, teacher_store
        self.tokenizers: dict[str, TextTokenizer] = {}
        self._splits = Splits(self.sources, holdout, self.bad_rows)
        self._stored: dict[str, TeacherLookup] = {}
        self._resumed: dict[str, Any] | None = None
        self._started = False
        self._looks: dict[tuple[int, int, int], Dealt] = {}

    def sources(self, split: str) -> list[Source]:
        """The sources of a split; subclasses that make their own data override this.

        Args:
            split: `train`, `validation`, `test` or `predict`.
        """
        return as_sources(getattr(self, split), split)

    def setup(self, stage: str) -> None:
        """Opens the sources that a stage needs and takes the tokenizers from the trainer's module."""
        self._started = False
        module: Any = None if self.trainer is None else self.trainer.lightning_module
        if module is not None:
            self.tokenizers = module.tokenizers
        wanted = {"fit": ("train", "validation", "test")}.get(stage, (stage.replace("validate", "validation"),))
        for split in wanted:
            check_teachers(self.rows(split), _teachers(module)) if module is not None else self.rows(split)
        if stage != "fit" and not self.rows(wanted[0]):
            command = getattr(stage, "value", stage)  # Lightning's is an enum
            raise UserError(f"`{command}` needs data: give data.{wanted[0]} at least one source")
        if stage == "fit" and not self.rows("train"):
            raise UserError("`fit` needs data: give data.train at least one source, e.g. --data.train pairs.jsonl")
        if stage == "fit" and self.trainer is not None:
            self._open_store(self.trainer)
        if stage == "fit":
            for number, rows in enumerate(self.rows("train")):
                for text in notes_at_start(rows, self._dealt(number)):
                    note(text)
        if self.trainer is not None and self.bad_rows.found:
            listing = Path(self.trainer.default_root_dir) / "bad_rows.jsonl"
            if self.trainer.is_global_zero:
                self.bad_rows.write(listing)
            note(f"{len(self.bad_rows.found):,} rows cannot be used and are left out; {listing} lists them")

    def _dealt(self, source: int) -> Dealt | None:
        """What `no_duplicates` makes of the first batches of a training source; None where it is off."""
        if not self.no_duplicates:
            return None
        key = (source, id(self.rows("train")), self.global_batch_size)
        if key not in self._looks:
            self._looks[key] = without_duplicates(self.plan, self.rows("train")).look(source)
        return self._looks[key]

    def notes(self, rows: int) -> list[str]:
        """What of the data a run left out, a line each, for its report.

        Args:
            rows: Rows that were trained on.
        """
        splits = ("train", "validation", "test")
        lines = [line for split in splits for one in self.rows(split) for line in report_lines(one, split)]
        planned = self.plan.rows_of(self._done()) if self.no_duplicates else 0
        if planned > rows:
            lines.append(
                f"no_duplicates left out {planned - rows:,} of {planned:,} rows, which had a text of another row of their batch."
            )
        return lines

    def _open_store(self, trainer: L.Trainer) -> None:
        """Finds the teacher's stored vectors and says how many of the texts have one."""
        module: Any = trainer.lightning_module
        roles: Any = getattr(module, "roles_by_teacher", None) or getattr(module, "teacher_roles", frozenset())
        self.use_store(_teachers(module), roles)
        for name, stored in self._stored.items():
            if trainer.is_global_zero and stored.roles:
                splits = ("train",) if stored.required else ("train", "validation", "test")
                print(coverage_line(stored, self.teacher_texts(splits, stored.roles, name), name), flush=True)

    def use_store(self, teacher: Any, roles: frozenset[str] | Mapping[str, frozenset[str]]) -> None:
        """Puts the teachers' stored vectors, where there are some, into the batches.

        Args:
            teacher: As for `open_lookup`, or a mapping of names.
            roles: Which texts' vectors training batches have, of several teachers by name; those of evaluation have the pairs'.
        """
        asked = by_name(roles)
        found = {name: open_lookup(one, self.teacher_store) for name, one in by_name(teacher).items()}
        self._stored = {name: replace(one, roles=asked[name]) for name, one in found.items() if one is not None}

    def teacher_texts(self, splits: Sequence[str], roles: frozenset[str], teacher: str = ONE) -> list[Wanted]:
        """The sources of some splits, each with the roles whose teacher vectors are used.

        Args:
            splits: `train`, `validation`, `test`.
            roles: Those of the losses, which training uses.
            teacher: The teacher's name, where there are several.
        """
        return [one for split in splits for one in wanted_roles(self.rows(split), split, roles, teacher)]

    def teacher_is_stored(self, split: str, teacher: str = ONE) -> bool:
        """Whether every pair of a split has its teacher's vectors in the store.

        Args:
            split: `validation` or `test`.
            teacher: The teacher's name, where there are several.
        """
        if teacher not in self._stored:
            return False
        lookup = self._stored[teacher].for_split(split)
        stored, different = count_stored(lookup, self.teacher_texts([split], frozenset(), teacher))
        return stored == different

    def rows(self, split: str) -> list[Rows]:
        """The opened sources of a split, opened at the first call.

        Args:
            split: `train`, `validation`, `test` or `predict`.
        """
        return self._splits.rows(split, self.tokenizers)

    @property
    def plan(self) -> Plan:
        """Which rows are training step k."""
        opened = self.rows("train")
        sizes = tuple(len(rows) for rows in opened)
        batch_sizes = tuple(rows.source.batch_size or self.global_batch_size for rows in opened)
        plan = Plan(sizes, batch_sizes, seed=self.seed, alternate=self.mixture == "round_robin")
        weights = [rows.source.weight for rows in opened]
        return replace(plan, turns=turns(plan.steps_of, weights, self.mixture, self.mixture_temperature))

    @property
    def given(self) -> list[Given]:
        """What the batches of each training source carry."""
        given = []
        for number, (rows, size) in enumerate(zip(self.rows("train"), self.plan.batch_sizes, strict=True)):
            dealt = self._dealt(number)
            given.append(replace(rows.given, batch=min(len(rows), size) if dealt is None else dealt.largest))
        return given

    @property
    def signature(self) -> dict[str, Any]:
        """What must not change when a run resumes, for it to read the same rows."""
        return signature(self.plan, self.rows("train"), self.mixture, self.no_duplicates, self.holdout)

    def _loader(self, split: str, plan: Plan, sampler: StepSampler) -> DataLoader[TokenBatch]:
        rank, world = (self.trainer.global_rank, self.trainer.world_size) if self.trainer is not None else (0, 1)
        training = split == "train"
        steps = Steps(
            self.rows(split),
            plan,
            self.tokenizers["student"],
            teachers_among(self.tokenizers),
            rank,
            world,
            balance=training,
            no_duplicates=training and self.no_duplicates,
            stored={name: one.for_split(split) for name, one in self._stored.items()},
            cache_tokens=training and self.cache_tokens,
        )
        on_gpu = self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"
        return step_loader(steps, sampler, self.num_workers, on_gpu)

    def train_dataloader(self) -> DataLoader[TokenBatch]:
        """Batches of the plan, from the step at which a resumed run stood."""
        plan = self.plan
        if self._resumed is not None:
            require_same(self._resumed["plan"], self.signature)
        self._started = True
        return self._loader("train", plan, StepSampler(len(plan), self._done))

    def _done(self) -> int:
        """Steps of the plan that have been trained on, before the run was resumed too."""
        before = self._resumed["step"] if self._resumed is not None else 0
        if self.trainer is None:
            return before
        return max(before, batches_done(self.trainer))

    def _eval_loader(self, split: str) -> DataLoader[TokenBatch]:
        sizes = tuple(len(r) for r in self.rows(split))
        plan = Plan(sizes, (self.eval_batch_size,) * len(sizes), shuffle=False, drop_last=False)
        return self._loader(split, plan, StepSampler(len(plan)))

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
        """How many steps of the plan have been trained on, and what the plan was made of."""
        if self.trainer is None or not self.rows("train"):
            return {}
        return {"step": steps_done(self.trainer), "plan": self.signature}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes up where `state_dict` stood."""
        if self._started and state_dict:
            raise UserError(
                "the training data was started before the checkpoint was loaded; configure_optimizers must not read "
                "trainer.estimated_stepping_batches with this strategy: set trainer.max_steps and read that"
            )
        self._resumed = state_dict or None


def _teachers(module: Any) -> dict[str, Any]:
    """The teachers of a module, which need not be an `EmbeddingModule`."""
    found: dict[str, Any] = getattr(module, "teachers", None) or by_name(getattr(module, "teacher", None))
    return found
