"""What a chain is worth: each stage's student on its own task, beside what it started from, the teacher, and the untouched backbone."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_embed.errors import UserError
from lightning_embed.evaluation.run import quietly
from lightning_embed.recipe.chain import Job
from lightning_embed.recipe.stages import Outcome, outcome
from lightning_embed.utils.configs import arguments_of

if TYPE_CHECKING:
    from lightning_embed.evaluation.models import EvaluatedModel
    from lightning_embed.evaluation.reports.task_report import Evaluation

TEACHER, BACKBONE = "teacher", "untouched backbone"
"""Names of the models that no stage trained."""


@dataclass(frozen=True)
class TaskScores:
    """A stage's task."""

    stage: str
    """The stage whose task it is."""
    repeat_of: str
    """The same for stages that differ in nothing but their seeds."""
    evaluation: Evaluation
    """The models on it; the first is what the stage started from, if it started from a stage."""


@dataclass(frozen=True)
class Summary:
    """All that a chain came to."""

    outcomes: list[Outcome]
    """The stages, in order."""
    tasks: list[TaskScores]
    """Of the stages that have one."""


@quietly()
def score(
    finished: Sequence[Job], kept: Path, dims: list[int] | None, precisions: Sequence[str], shots: int
) -> Summary:
    """Scores the stages that have a task; what was scored before is found in a cache.

    Args:
        finished: Stages that are trained, in order.
        kept: Folder of vectors and finished cells.
        dims: Sizes; None: D and its halves, down to 32.
        precisions: Some of float32, int8, binary, binary_rescore.
        shots: Training texts a label, in local classification.

    Raises:
        UserError: A task or precision is unknown, or a model does not load.
    """
    from lightning_embed.evaluation.reports.task_report import ScoredModel
    from lightning_embed.evaluation.run import checked_precisions, evaluation_of
    from lightning_embed.evaluation.tasks.grid import GridResult, evaluate_grid, grid_dims
    from lightning_embed.evaluation.tasks.local import read_tasks

    chosen = checked_precisions(precisions)
    models = _Models(finished)
    scored = []
    for job in finished:
        spec = job.task()
        if spec is None:
            continue
        task = read_tasks([spec], shots)
        compared = models.beside(job)
        sizes = grid_dims(dims and [dim for dim in dims if all(dim <= model.dim for model in compared)], compared)
        grids: dict[str, GridResult] = {}
        for model in compared:
            print(f"{job.name:<15} scoring {model.name} on {task[0].metadata.name}", file=sys.stderr, flush=True)
            grids[model.name] = evaluate_grid(model, task, sizes[model.name], chosen, kept)
        rows = [
            ScoredModel(m.name, m.name, m.fingerprint, m.dim, m.parameters, m.size_bytes, grids[m.name].rows)
            for m in compared
        ]
        found = evaluation_of(rows, task, {name: grid.items for name, grid in grids.items()}, resamples=2000)
        scored.append(TaskScores(job.name, job.seedless_key, found))
    return Summary([outcome(job) for job in finished], scored)


class _Models:
    """The models of a chain, each loaded once.

    Args:
        finished: Stages that are trained.
    """

    def __init__(self, finished: Sequence[Job]) -> None:
        self.jobs = {job.name: job for job in finished}
        self.loaded: dict[str, EvaluatedModel] = {}

    def beside(self, job: Job) -> list[EvaluatedModel]:
        """A stage's student, and what it is compared with: its predecessor first, the teacher and the backbone last."""
        first = (*job.ancestors, job)[0]
        names = [*([job.after.name] if job.after else []), job.name]
        settings = first.runnable()["model"]["init_args"]
        others = {TEACHER: settings.get("teacher"), BACKBONE: settings.get("student")}
        return [self._stage(name) for name in names] + [
            self._encoder(name, given) for name, given in others.items() if given and "model" in arguments_of(given)
        ]

    def _stage(self, name: str) -> EvaluatedModel:
        from lightning_embed.evaluation.models import load_model

        if name not in self.loaded:
            self.loaded[name] = load_model(f"{name}={self.jobs[name].folder / 'model'}")
        return self.loaded[name]

    def _encoder(self, name: str, given: dict[str, Any]) -> EvaluatedModel:
        """An encoder as its settings in a configuration make it, before any training."""
        from lightning_embed.encoders.text_encoder import TextEncoder
        from lightning_embed.evaluation.models import from_encoder
        from lightning_embed.utils.hashing import contents_hash

        if name not in self.loaded:
            arguments = {key: value for key, value in arguments_of(given).items() if key != "adapter"}
            try:
                encoder = TextEncoder(**arguments).eval()
            except TypeError as error:  # a class of the user's, with settings of its own
                raise UserError(f"{name}: cannot be built from {arguments} ({error})") from None
            digest = blake2b(json.dumps(arguments, sort_keys=True).encode(), digest_size=8).hexdigest()
            self.loaded[name] = from_encoder(encoder, name, f"{contents_hash([encoder.folder])}-{digest}")
        return self.loaded[name]
