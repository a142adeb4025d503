"""Stages of training: at given steps, losses change places by their weights alone."""

from collections.abc import Mapping

import lightning.pytorch as L

from lightning_embed.errors import UserError
from lightning_embed.module import EmbeddingModule
from lightning_embed.utils.numbers import check_number


class LossSchedule(L.Callback):
    """Sets several losses' weights at once as each stage begins; what a stage does not name keeps its weight.

        stages: {0: {distill: 1, nce: 0}, 10000: {distill: 0.5, nce: 1}}

    When training is set up it writes them as the losses' own schedules (`weight: {step: λ}`), and does nothing more: it has no state, and
    a resumed run is in the right stage by itself. All losses are there from the start, so no parameter appears in mid-run.

    Args:
        stages: First step of the stage -> loss's name -> weight λ ≥ 0.
    """

    def __init__(self, stages: dict[int, dict[str, float]]) -> None:
        if not stages:
            raise UserError("LossSchedule: stages: expected at least one, e.g. {0: {nce: 0}, 1000: {nce: 1}}")
        for step, weights in stages.items():
            check_number("LossSchedule: stages: the step", step, least=0, whole=True)
            if not isinstance(weights, Mapping):
                raise UserError(
                    f"LossSchedule: stages: step {step}: expected weights such as {{nce: 1}}, got {weights!r}"
                )
            for name, weight in weights.items():
                check_number(f"LossSchedule: stages: the weight of {name} at step {step}", weight, least=0)
        self.stages = {step: dict(weights) for step, weights in sorted(stages.items())}

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Writes the stages into the module's terms."""
        if not isinstance(pl_module, EmbeddingModule):
            raise UserError(f"LossSchedule works on an EmbeddingModule, got {type(pl_module).__name__}")
        for step, weights in self.stages.items():
            for name, weight in weights.items():
                if name not in pl_module.terms:
                    raise UserError(
                        f"LossSchedule, step {step}: no loss '{name}'; known are {', '.join(pl_module.terms)}"
                    )
                term = pl_module.terms[name]
                before = term.weight if isinstance(term.weight, dict) else {0: term.weight}
                term.weight = {at: value for at, value in before.items() if at < step} | {step: weight}
