"""Looks at a module and its data, without training, and gathers what there is to say."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import lightning.pytorch as L

from lightning_embed.callbacks.loss_schedule import LossSchedule
from lightning_embed.datamodules import EmbeddingDataModule
from lightning_embed.datamodules.collate import Steps
from lightning_embed.datamodules.sources.rows import Rows
from lightning_embed.datamodules.teacher_texts import check_teachers
from lightning_embed.doctor.advice import batch_advice, encoder_advice, plan_advice, source_advice, store_advice
from lightning_embed.doctor.batches import Ask, batch_facts, turns_of
from lightning_embed.doctor.facts import BatchFacts, Diagnosis, SourceFacts
from lightning_embed.doctor.memory import changes, longest_need
from lightning_embed.doctor.memory_model import Layout, available
from lightning_embed.doctor.store import store_facts
from lightning_embed.doctor.texts import scan, source_facts
from lightning_embed.encoders.pretrained import read_settings
from lightning_embed.encoders.text_encoder import TextEncoder
from lightning_embed.losses import EmbeddingLoss, InfoNCE
from lightning_embed.module import EmbeddingModule
from lightning_embed.training.fsdp2 import FSDP2
from lightning_embed.utils.teacher_names import ONE, teacher_key

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Run:
    """What the trainer's settings say."""

    max_steps: int | None = None
    """Optimizer steps; None: no end."""
    max_epochs: int | None = None
    accumulate: int = 1
    """Batches of an optimizer step."""
    ranks: int = 1
    on_gpu: bool = False
    mixed: bool = False
    """Whether it runs in mixed precision."""
    shard: int = 0
    """Devices that share the weights (fsdp2); 0: each has all."""
    validate_every: int | float | None = 1.0
    """trainer.val_check_interval, where it is a number: batches, or a share of an epoch; None: a time."""
    validate_epochs: int | None = 1
    """trainer.check_val_every_n_epoch; None: `validate_every` counts through all epochs."""

    @classmethod
    def of(cls, trainer: L.Trainer) -> "Run":
        """The settings of a trainer.

        Args:
            trainer: It need not have run.
        """
        strategy, ranks = trainer.strategy, trainer.world_size
        return cls(
            max_steps=trainer.max_steps if trainer.max_steps > 0 else None,
            max_epochs=trainer.max_epochs if (trainer.max_epochs or 0) > 0 else None,
            accumulate=trainer.accumulate_grad_batches,
            ranks=ranks,
            on_gpu=strategy.root_device.type == "cuda",
            mixed="mixed" in str(trainer.precision),
            shard=(strategy.shard or max(1, ranks // strategy.replicate)) if isinstance(strategy, FSDP2) else 0,
            validate_every=trainer.val_check_interval if isinstance(trainer.val_check_interval, int | float) else None,
            validate_epochs=trainer.check_val_every_n_epoch,
        )

    @property
    def layout(self) -> Layout:
        """How the weights lie on the devices."""
        return Layout(self.ranks, self.shard)

    def batches(self, per_epoch: int) -> int | None:
        """Batches that it trains on; None: no end is set.

        Args:
            per_epoch: Steps of an epoch.
        """
        ends = [self.max_steps * self.accumulate] if self.max_steps else []
        ends += [self.max_epochs * per_epoch] if self.max_epochs else []
        return min(ends, default=None)

    def first_validation(self, per_epoch: int) -> int | None:
        """Batches before the first validation, which is at the end of the run where none would come before; None: it depends on time.

        Args:
            per_epoch: Steps of an epoch.
        """
        if self.validate_every is None:
            return None
        every, epochs = self.validate_every, self.validate_epochs
        first = max(1, int(per_epoch * every)) if isinstance(every, float) else every
        if epochs is not None:
            first += (epochs - 1) * per_epoch
        end = self.batches(per_epoch)
        return first if end is None else min(first, end)


def examine(
    module: EmbeddingModule,
    data: EmbeddingDataModule,
    trainer: L.Trainer | Run | None = None,
    tell: Callable[[str], Any] = lambda text: None,
) -> Diagnosis:
    """Reads a job's data without training, and says what the job comes to; `print_diagnosis` prints it.

    Args:
        module: As `fit` would train it.
        data: As `fit` would read it.
        trainer: The trainer of the job, or its settings; None: one process on a CPU, without an end.
        tell: Called with what is being read, such as `the teacher store`.

    Returns:
        Everything there is to say of the job, but for what its losses lack.

    Raises:
        UserError: If a source cannot be read.
    """
    run = _run_of(trainer, module)
    tell("the sources")
    data.prepare_data()
    data.tokenizers = module.tokenizers
    data.setup("fit")
    for split in SPLITS:
        check_teachers(data.rows(split), module.teachers)
    module.check_held_out(data)
    losses = [term.loss for term in module.terms.values() if term.runs_before(run.max_steps)]
    ask = _ask(module.student, losses)
    sources, batches = _read(module, data, run, ask, tell)
    tell("the teacher store")
    need, memory_of = longest_need(
        module, batches, [source.title for source in sources], run.layout, run.mixed, run.on_gpu
    )
    there = available(run.on_gpu)
    stores = store_facts(module, data, SPLITS)
    found = Diagnosis(
        sources=sources,
        batches=batches,
        steps_per_epoch=len(data.plan),
        steps=run.batches(len(data.plan)),
        first_validation=run.first_validation(len(data.plan)) if data.rows("validation") else None,
        ranks=run.ranks,
        contrastive=ask.contrast is not None,
        memory=need.memory(),
        memory_of=memory_of,
        layout=str(run.layout),
        memory_changes=list(changes(need)),
        memory_there=there if there is None or run.on_gpu else there // run.ranks,
        store=stores.pop(ONE, None),
        stores=stores,
    )
    return replace(found, warnings=list(_warnings(found, module, data, run)))


def _run_of(trainer: L.Trainer | Run | None, module: EmbeddingModule) -> Run:
    """The settings of a trainer, whose schedules of losses then count for the module."""
    if not isinstance(trainer, L.Trainer):
        return trainer or Run()
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, LossSchedule):
            callback.setup(trainer, module, "fit")
    return Run.of(trainer)


def _read(
    module: EmbeddingModule, data: EmbeddingDataModule, run: Run, ask: Ask, tell: Callable[[str], Any]
) -> tuple[list[SourceFacts], list[BatchFacts]]:
    """What there is to say of each source, and of the batches of each training source."""
    share = _steps(data, module, run.ranks)
    whole = share if run.ranks == 1 else _steps(data, module, 1)
    left_out = Counter(title for title, _ in data.bad_rows.found)
    turns = turns_of(data.plan, run.batches(len(data.plan)))
    sources: list[SourceFacts] = []
    batches: list[BatchFacts] = []
    for split, number, rows in _all(data):
        title = rows.source.title
        tell(f"source '{title}'")
        repeats, characters = scan(rows)
        facts = source_facts(rows, split, module.student.tokenizer, repeats, left_out[title])
        sources.append(facts)
        if split == "train":
            batches.append(batch_facts(whole, share, number, facts.characters, characters, turns[number], ask))
    return sources, batches


def _all(data: EmbeddingDataModule) -> Iterable[tuple[str, int, Rows]]:
    """Split, number and rows of each source."""
    return ((split, number, rows) for split in SPLITS for number, rows in enumerate(data.rows(split)))


def _steps(data: EmbeddingDataModule, module: EmbeddingModule, ranks: int) -> Steps:
    """Reads the first rank's share of training's batches, for the student."""
    return Steps(
        data.rows("train"),
        data.plan,
        module.student.tokenizer,
        None,
        world=ranks,
        balance=True,
        no_duplicates=data.no_duplicates,
    )


def _ask(student: TextEncoder, losses: list[EmbeddingLoss]) -> Ask:
    contrasts = [part for loss in losses for part in loss.modules() if isinstance(part, InfoNCE)]
    return Ask(
        roles=frozenset(role for loss in losses for role in loss.requires | loss.uses),
        max_tokens=student.max_tokens,
        checkpoint_chunks=student.checkpoint_chunks,
        contrast=contrasts[0] if contrasts else None,
    )


def _warnings(found: Diagnosis, module: EmbeddingModule, data: EmbeddingDataModule, run: Run) -> Iterable[str]:
    for source in found.sources:
        yield from source_advice(source)
    for source, batch in zip(found.sources, found.batches, strict=False):
        yield from batch_advice(source, batch, data.no_duplicates, found.contrastive)
    yield from plan_advice(found)
    yield from module.remarks(data.given, run.max_steps)
    for store in [*([] if found.store is None else [found.store]), *found.stores.values()]:
        yield from store_advice(store)
    asked = {role.prompt for source in found.sources for role in source.roles}
    teachers = {teacher_key(name): one for name, one in module.teachers.items()}
    for name, encoder in {"student": module.student, **teachers}.items():
        if isinstance(encoder, TextEncoder):
            tokenizer = encoder.tokenizer
            used = {prompt: tokenizer.prompts.get(prompt, "") for prompt in asked}
            named = read_settings(encoder.folder).prompts
            yield from encoder_advice(name, named, used, encoder.max_tokens, tokenizer.max_length)
