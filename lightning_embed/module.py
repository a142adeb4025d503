"""EmbeddingModule: a frozen teacher, a trainable student, and loss callbacks."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from lightning.pytorch.cli import LRSchedulerCallable
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer

from lightning_embed.batch import EmbeddingBatch, TokenBatch, check_batch
from lightning_embed.checkpoints.adapters import leave_base_out
from lightning_embed.checkpoints.settings import note_changes
from lightning_embed.compat.lightning import clipping_fused, is_attached
from lightning_embed.encoders.teacher import FrozenEncoder, StoredTeacher
from lightning_embed.encoders.text_encoder import TextEncoder
from lightning_embed.errors import UserError
from lightning_embed.evaluation.held_out import refuse_texts_alone
from lightning_embed.evaluation.metrics.teacher_cosine import Projected
from lightning_embed.evaluation.scored_module import ScoredModule
from lightning_embed.heads import Projection
from lightning_embed.losses import EmbeddingLoss
from lightning_embed.losses.base import Losses, LossTerm, as_terms
from lightning_embed.losses.requirements import Given, check_sources, remarks, teacher_roles
from lightning_embed.tokenizer import TextTokenizer
from lightning_embed.training.embedding import embed_batch
from lightning_embed.training.fsdp2 import FSDP2
from lightning_embed.training.loss_log import LossLog
from lightning_embed.training.optimizers import optimizer_settings, set_end, step_after_validation
from lightning_embed.training.parameters import parameter_groups, zero_touching
from lightning_embed.training.parts import check_parts
from lightning_embed.training.precision import note_slow_precision
from lightning_embed.training.projection_start import fit_projection, vector_pairs
from lightning_embed.training.resumed import Made, settle_checkpoint, settle_optimizer
from lightning_embed.training.seeding import seed_batch
from lightning_embed.training.step_loss import weighted_sum
from lightning_embed.training.teachers import asked_of_teachers, frozen, named, registered, roles_by_teacher
from lightning_embed.utils.notes import note
from lightning_embed.utils.teacher_names import ONE, teacher_key


class EmbeddingModule(ScoredModule):
    """Trains a student to embed as its teacher does, and better for a task, by a weighted sum of loss callbacks.

        L = Σ_name weight(step) · loss(batch)

    To change the objective, write a loss, or override `compute_losses` in a subclass. The teacher is not registered: it is never trained,
    saved or optimised, and `train()` does not reach it.

    Args:
        student: The encoder that trains.
        losses: Name -> loss and weight, or a loss alone, of weight 1; `train/<name>` is logged for each.
        teacher: The frozen encoder, loaded when it is first needed (never, if all its vectors are stored), or a `StoredTeacher`; a plain
            `TextEncoder` does too, without the store. Several: a mapping of names, one of which each loss then gives as its `teacher`.
            None where no loss needs one.
        projection: ψ between the two spaces; its sizes are taken from the encoders. Of several teachers: a mapping of their names. None,
            or a name left out, where D = E or no loss needs it.
        optimizer: Makes the optimizer from parameter groups; None: torch.optim.AdamW.
        lr_scheduler: Makes the learning-rate schedule, advanced each step; None: constant.
    """

    def __init__(
        self,
        student: TextEncoder,
        losses: Losses,
        teacher: FrozenEncoder
        | StoredTeacher
        | TextEncoder
        | dict[str, FrozenEncoder | StoredTeacher | TextEncoder]
        | None = None,
        projection: Projection | dict[str, Projection] | None = None,
        optimizer: Callable[[Iterable[dict[str, Any]]], Optimizer] | None = None,
        lr_scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        super().__init__()
        terms = as_terms(losses)
        check_parts(student, terms, teacher, projection)
        self.student = student
        self.teachers = frozen(teacher)
        self.losses = nn.ModuleDict({name: term.loss for name, term in terms.items()})
        self.terms = terms
        self.projection = registered(projection)
        for name, one in self.projections.items():
            one.fit_to(student.dim, self.teachers[name].dim)
        if student.base is not None:
            leave_base_out(self)
            self.strict_loading = False  # `check_base` is as strict about all that trains
        self.optimizer, self.lr_scheduler = optimizer, lr_scheduler
        self._loss_log, self._logged = LossLog(), {}
        self._projection_started = False

    teachers: dict[str, FrozenEncoder | StoredTeacher | TextEncoder]
    """The teachers by name; a lone one has the name `ONE`."""
    _made: Made | None = None
    _logged: dict[str, float]

    @property
    def teacher(self) -> FrozenEncoder | StoredTeacher | TextEncoder | None:
        """The lone teacher; None where there is none or `teachers` has several by name."""
        return self.teachers.get(ONE)

    @property
    def projections(self) -> dict[str, Projection]:
        """The projections by their teachers' names."""
        return named(self.projection)

    @property
    def tokenizers(self) -> dict[str, TextTokenizer]:
        """What the DataModule tokenises with: `student` and, if there is one that can read, `teacher` (of several, `teacher.NAME`)."""
        encoders = {"student": self.student} | {teacher_key(name): one for name, one in self.teachers.items()}
        return {name: encoder.tokenizer for name, encoder in encoders.items() if isinstance(encoder, TextEncoder)}

    @property
    def teacher_roles(self) -> frozenset[str]:
        """The roles whose teacher vectors some loss needs, whatever its weight is now."""
        return frozenset[str]().union(*(teacher_roles(term.loss) for term in self.terms.values()))

    @property
    def roles_by_teacher(self) -> dict[str, frozenset[str]]:
        """The same of each teacher's own losses."""
        return roles_by_teacher(self.teachers, self.terms)

    def active(self, batch: TokenBatch) -> dict[str, tuple[EmbeddingLoss, float]]:
        """The losses that are for a batch and whose weight is not 0 at this step, with their weights.

        Args:
            batch: B rows, on every rank of the same source.
        """
        terms = self._terms_for(batch)
        weighted = {name: (term.loss, term.weight_at(self.global_step)) for name, term in terms.items()}
        return {name: (loss, weight) for name, (loss, weight) in weighted.items() if weight != 0}

    def _terms_for(self, batch: TokenBatch) -> dict[str, LossTerm]:
        columns = batch.columns
        return {name: term for name, term in self.terms.items() if term.takes(columns, batch.teachers)}

    def encode(self, batch: TokenBatch, losses: Iterable[EmbeddingLoss]) -> EmbeddingBatch:
        """The vectors that some losses need of a batch, and no more.

        Args:
            batch: B rows as tokens.
            losses: The losses that will be called.
        """
        losses = list(losses)
        asked = asked_of_teachers(self.teachers, self.projections, self._terms_for(batch), losses)
        return embed_batch(self.student, asked, batch, losses, self.global_step)

    def compute_losses(self, batch: EmbeddingBatch, losses: Mapping[str, EmbeddingLoss]) -> dict[str, Tensor]:
        """Name -> scalar of each loss, before its weight; `training_step` minimises Σ weight · value and logs `train/<name>`.

        Override it to change values or to add some: a name that is not in `losses` of the configuration has weight 1. Autocast is off.

        Args:
            batch: This rank's vectors, as `encode` gives them; with several teachers a loss gets `batch.of_teacher` of its own.
            losses: Name -> the losses that are active for this batch at this step.
        """
        values: dict[str, Tensor] = {}
        for name, loss in losses.items():
            own = batch.of_teacher(self.terms[name].teacher if name in self.terms else None)
            loss.check(name, own)
            values[name] = loss(own)
        return values

    def weight_of(self, name: str) -> float:
        """The weight at this step of a value that `compute_losses` gives: its term's, or 1 where there is no such term.

        Args:
            name: The value's name.
        """
        return self.terms[name].weight_at(self.global_step) if name in self.terms else 1.0

    def training_step(self, batch: TokenBatch, batch_idx: int) -> Tensor:
        """The weighted sum of the losses; stops with a clear message where it is not finite."""
        losses = {name: loss for name, (loss, _) in self.active(batch).items()}
        vectors = self.encode(batch, losses.values())
        with torch.autocast(self.device.type, enabled=False):
            values = self.compute_losses(vectors, losses)
            weights = {name: self.weight_of(name) for name in values}
            total = weighted_sum(values, weights, batch, self.global_step)
            # DDP waits for the gradients of the losses that are not active too
            total = total + zero_touching([self.losses, self.projection], total)
        if batch.texts_cut:
            note(f"source '{batch.source}': texts longer than its max_length are cut; the report counts them")
        self._loss_log.add(batch.source, values | {"loss": total})
        if self._every and (self.global_step + 1) % self._every == 0:
            logged = {f"train/{name}": mean for name, mean in self._loss_log.means().items()}
            self._logged = logged | {f"weight/{name}": weight for name, weight in weights.items()}
            # for monitors and progress bars; a logger would get the last value again of a loss that no batch has had since
            self.log_dict(self._logged, logger=False, batch_size=len(batch))
        return total

    @property
    def _every(self) -> int:
        """Steps between two logs; 0: none."""
        return int(self.trainer.log_every_n_steps)  # type: ignore[attr-defined]

    def _log_step(self) -> None:
        """Gives the loggers what `training_step` has logged, once its step is done."""
        for logger in self.loggers:
            logger.log_metrics(self._logged | {"epoch": self.current_epoch}, step=self.global_step - 1)
            logger.save()
        self._loss_log.clear()
        self._logged = {}

    def check_sources(self, sources: Iterable[Given], steps: int | None = None) -> None:
        """Raises `UserError` at the first source that lacks what a loss, which will be called, requires.

        Args:
            sources: What each training source gives.
            steps: Optimizer steps that will be done; None: no end.
        """
        terms = {name: term for name, term in self.terms.items() if term.runs_before(steps)}
        vectors = {"teacher": self.teachers or None, "reference": self.student.adapter, "projection": self.projection}
        check_sources(terms, sources, [name for name, there in vectors.items() if there is not None])

    def remarks(self, sources: Iterable[Given], steps: int | None = None) -> list[str]:
        """What the sources give that no loss takes, a line each.

        Args:
            sources: What each training source gives.
            steps: Optimizer steps that will be done; None: no end.
        """
        return list(remarks({name: term for name, term in self.terms.items() if term.runs_before(steps)}, sources))

    def check_held_out(self, data: object, stage: str = "fit") -> None:
        """Raises `UserError` if held-out texts alone cannot be scored, unless `held_out_metric` is a subclass's.

        Args:
            data: The run's data.
            stage: `fit`, `validate`, `test` or `predict`.
        """
        if type(self).held_out_metric is EmbeddingModule.held_out_metric:
            refuse_texts_alone(data, stage, [name for name, roles in self.roles_by_teacher.items() if roles])

    def projections_for(self, batch: TokenBatch) -> Projected | Mapping[str, Projected | None] | None:
        """ψ for held-out texts alone; of several teachers, by the names of those that their source and a loss have.

        Args:
            batch: As for `held_out_metric`.
        """
        if ONE in self.teachers or not self.teachers:
            return self.projections.get(ONE)
        named = [name for name, roles in self.roles_by_teacher.items() if roles]
        return {n: self.projections.get(n) for n in named if batch.teachers is None or n in batch.teachers}

    def on_fit_start(self) -> None:
        """Looks whether the sources give what the losses require, and calls their hooks; forgets what a fit before has not logged."""
        self._loss_log, self._logged = LossLog(), {}
        steps = self.trainer.max_steps
        given = getattr(
            getattr(self.trainer, "datamodule", None), "given", []
        )  # another DataModule than ours says nothing
        self.check_sources(given, steps if steps > 0 else None)
        for remark in self.remarks(given, steps if steps > 0 else None):
            note(remark)
        for term in self.terms.values():
            term.loss.on_fit_start(self)

    def _settle_optimizer(self) -> None:
        """Has the job's settings count in a resumed run; a subclass that makes its optimizer otherwise sees to them itself."""
        schedules = [one.scheduler for one in self.trainer.lr_scheduler_configs]
        if self._made is not None and self.trainer.global_step:
            (optimizer,) = self.trainer.optimizers
            settle_optimizer(optimizer, schedules[0] if schedules else None, self._made, self.trainer.global_step)

    def on_train_start(self) -> None:
        """Fits the projection to the first batches of the module's first run, unless its settings say otherwise or it is a checkpoint's.

        The run then trains on the same batches: none is left out.
        """
        self._settle_optimizer()
        fitted = {name: one for name, one in self.projections.items() if one.start == "fitted" and not one.weights}
        if self._projection_started or self.trainer.global_step:
            return
        training = self.student.training
        self.student.eval()
        for name, projection in fitted.items():
            if roles := self.roles_by_teacher[name]:
                pairs = vector_pairs(self.student, self.teachers[name], self._first_batches(name), roles)
                with self.trainer.precision_plugin.forward_context():
                    fit_projection(projection, pairs, self.trainer.strategy.broadcast)
                self._projection_started = True
        self.student.train(training)

    def _first_batches(self, teacher: str) -> Iterator[TokenBatch]:
        """The run's batches, on its device, that are for the losses of a teacher."""
        batches: Iterable[TokenBatch] = self.trainer.train_dataloader  # type: ignore[assignment]
        for batch in map(check_batch, batches):
            if batch.teachers is None or teacher in batch.teachers:
                yield self.transfer_batch_to_device(batch, self.device, 0).of_teacher(teacher)

    def setup(self, stage: str) -> None:
        """Brings the teachers, which Lightning does not know of, to the device; raises `UserError` if held-out texts alone lack it."""
        self.check_held_out(getattr(self.trainer, "datamodule", None), stage)
        note_slow_precision(str(self.trainer.precision), self.student, self.trainer.strategy.root_device)
        for teacher in self.teachers.values():
            teacher.to(self.trainer.strategy.root_device)

    def configure_model(self) -> None:
        """Shards the weights over the devices, where the strategy does so; Lightning may call it again, or without a trainer."""
        if not is_attached(self):
            return
        strategy = self.trainer.strategy
        asked = {name: one for name, one in self.teachers.items() if getattr(one, "shard", False)}
        if isinstance(strategy, FSDP2):
            teachers = [one for one in asked.values() if isinstance(one, FrozenEncoder)]
            strategy.shard_weights(self.student, [*self.projections.values(), *self.losses.values()], teachers)
        elif asked:
            key = teacher_key(next(iter(asked)))
            raise UserError(f"{key}: shard: true needs --trainer.strategy fsdp2; leave it out, or take that strategy")

    def on_train_batch_start(self, batch: TokenBatch, batch_idx: int) -> None:
        """Lets dropout be what it would be had the run never stopped."""
        check_batch(batch)
        seed_batch(self.trainer)

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clips as the trainer is set to, under a fused optimizer too."""
        with clipping_fused(self.trainer.precision_plugin, optimizer):
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def on_train_batch_end(self, outputs: Any, batch: TokenBatch, batch_idx: int) -> None:
        """Logs, and calls the losses' hooks, after the optimizer's step."""
        if self._logged and self.global_step % self._every == 0:  # not before the last batch of accumulated gradients
            self._log_step()
        for term in self.terms.values():
            term.loss.on_step_end(self, self.global_step)

    def on_train_end(self) -> None:
        """Logs the losses of the last steps, fewer than trainer.log_every_n_steps."""
        means = self._loss_log.means()
        if means and self._every:
            self._logged = {f"train/{name}": mean for name, mean in means.items()}
            self._log_step()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Raises `UserError` if the checkpoint is another student's or another base's adapter; a resumed fit follows its job's settings."""
        super().on_load_checkpoint(checkpoint)
        self._projection_started = True
        if is_attached(self) and self.trainer.state.fn == TrainerFn.FITTING:
            note_changes(self, checkpoint)
            settle_checkpoint(self.trainer, checkpoint, parameter_groups(self))

    def on_validation_end(self) -> None:
        """Shows a ReduceLROnPlateau the score that it watches."""
        step_after_validation(self.trainer)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimizer over all that trains, and the schedule: by steps, or a ReduceLROnPlateau by validations."""
        optimizer = (self.optimizer or torch.optim.AdamW)(parameter_groups(self))
        scheduler = None if self.lr_scheduler is None else self.lr_scheduler(optimizer)
        set_end(scheduler, self.trainer)
        self._made = Made.of(optimizer, scheduler)
        return optimizer_settings(optimizer, scheduler)
