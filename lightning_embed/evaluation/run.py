"""Scores models on tasks, in every size and precision."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_embed.errors import GateError, UserError
from lightning_embed.utils.activity import Activity
from lightning_embed.utils.folders import user_cache, writable
from lightning_embed.utils.notes import note
from lightning_embed.utils.quiet import quiet

if TYPE_CHECKING:
    from mteb.abstasks import AbsTask

    from lightning_embed.evaluation.metrics.quantize import Precision
    from lightning_embed.evaluation.models import EvaluatedModel
    from lightning_embed.evaluation.reports.task_report import Evaluation, ScoredModel
    from lightning_embed.evaluation.tasks.grid import GridResult
    from lightning_embed.evaluation.tasks.items import TaskItems

PRECISIONS: tuple[Precision, ...] = ("float32", "int8", "binary", "binary_rescore")
"""As in `quantize`, which loads torch: `--help` need not."""


@contextmanager
def quietly() -> Iterator[None]:
    """Hides, while models are scored, what a user can do nothing about."""
    with quiet("datasets", loggers=("mteb", "sentence_transformers", "transformers")):
        noisy = r"(mteb|sentence_transformers|sklearn|torch|transformers|datasets)(\.|$)"
        warnings.filterwarnings("ignore", module=noisy)
        yield


@quietly()
def evaluate(
    models: list[str],
    tasks: list[str],
    dims: list[int] | None = None,
    precisions: Sequence[str] = PRECISIONS,
    output: str = "runs/evaluate",
    cache: str | None = None,
    device: str | None = None,
    batch_size: int = 32,
    shots: int = 16,
    resamples: int = 2000,
    config_of_checkpoint: str | None = None,
    require: dict[str, float] | None = None,
    teacher_store: str | None = None,
    stored_prompts: dict[str, str] | None = None,
    map_texts: str | None = None,
) -> Evaluation:
    """Scores models on tasks, compares them with the first, and writes and prints the report.

    Args:
        models: See `load_model`; `A+B` embeds queries by A and documents by B, each a model or the name of another one here.
            `stored:NAME` are vectors that `cache --import` stored; `mapped:NAME:MODEL` is a model with a linear map to these.
        tasks: See `read_tasks`.
        dims: Sizes to truncate to; None: D and its halves, down to 32.
        precisions: Some of float32, int8, binary, binary_rescore.
        output: Folder of the report.
        cache: Folder of embeddings and finished cells; None: `evaluate` in the user's cache folder, such as ~/.cache/lightning_embed.
        device: Where models run, such as cuda:1; None: the GPU if there is one.
        batch_size: Texts a forward.
        shots: Training texts a label in local classification; mteb's stock tasks have their own.
        resamples: Of the bootstrap that compares two models.
        config_of_checkpoint: A run's config.yaml, in place of the checkpoint's own settings.
        require: Gate -> least value, of every model but the first, which counts as the teacher (of a model alone, of that one), such as
            `{of_teacher: 0.95, int8_of_float: 0.98}`; of one task, `of_teacher/TASK`; at the interval's lower end, `of_teacher_low/TASK`.
        teacher_store: Folder of stored vectors, as in `fit`; None: the user's cache folder.
        stored_prompts: What preceded texts when stored vectors were made (`--import_prompt`), by role, such as `{query: "Query: "}`.
        map_texts: Texts with stored vectors that `mapped:` is fitted on, such as the index's corpus.jsonl: JSON lines of `text` and perhaps
            `title`, or `*.txt`, one a line. The tasks' queries among them are left out.

    Raises:
        UserError: Something of the user's is missing or wrong, in one line.
        GateError: A gate does not hold; the report is written.
    """
    chosen = checked_precisions(precisions)
    from lightning_embed.evaluation.reports.gates import check_gates

    check_gates(require or {}, "require")
    _check_numbers(batch_size, shots, resamples)
    folder, kept = (
        writable(one, "give another folder")
        for one in (Path(output), Path(cache).expanduser() if cache else user_cache() / "evaluate")
    )
    from lightning_embed.evaluation.loading import Loader
    from lightning_embed.evaluation.mapped import write_maps
    from lightning_embed.evaluation.models import MAPPED
    from lightning_embed.evaluation.pairs import load_models, read_names
    from lightning_embed.evaluation.reports.task_report import ScoredModel, print_evaluation, write_evaluation
    from lightning_embed.evaluation.tasks.grid import queries_of, require_queries
    from lightning_embed.evaluation.tasks.local import read_tasks

    read_names(models)
    read = read_tasks(tasks, shots)
    queries = queries_of(read) if any(MAPPED in spec for spec in models) else set()
    loader = Loader(
        device, batch_size, config_of_checkpoint, teacher_store, stored_prompts or {}, map_texts, queries, kept
    )
    loaded = load_models(models, loader)
    require_queries(loaded, read)
    grids, notes = _grids(loaded, read, dims, chosen, kept)
    if require and loaded[0].name not in grids:
        raise UserError(f"require: the gates compare with the first model, and there is none: {notes[0]}")
    scored = [
        ScoredModel(
            m.name, spec, m.fingerprint, m.dim, m.parameters, m.size_bytes, grids[m.name].rows, m.halves is not None
        )
        for m, spec in zip(loaded, models, strict=True)
        if m.name in grids
    ]
    notes += [f"model {name}: {about}" for name, about in _about(loaded).items()]
    for line in notes:
        note(line)
    _note_missing_scores(scored)
    evaluation = evaluation_of(scored, read, {name: grid.items for name, grid in grids.items()}, resamples, notes)
    print_evaluation(evaluation, [*write_evaluation(evaluation, folder), *write_maps(loaded, folder)])
    encoded = loader.encoded + sum(grid.encoded for grid in grids.values())
    print(f"{encoded:,} texts were encoded; what is known stays in {kept}")
    _require(require or {}, evaluation, folder)
    return evaluation


def _note_missing_scores(models: Sequence[ScoredModel]) -> None:
    """Notes the scores that are no numbers: mteb's rank correlation of cosines that are all the same."""
    from lightning_embed.evaluation.tasks.grid import MEAN

    for model in models:
        missing = {name for row in model.grid for name, value in row.scores.items() if math.isnan(value)} - {MEAN}
        if missing:
            note(
                f"model {model.name}: no score (NaN) of {', '.join(sorted(missing))}: all its pairs have the same cosine, in one size or "
                "precision at least"
            )


def _require(require: Mapping[str, float], evaluation: Evaluation, folder: Path) -> None:
    """Raises `GateError` where a gate does not hold."""
    from lightning_embed.evaluation.metrics.grid import full_precision
    from lightning_embed.evaluation.reports.gates import broken, values

    first, *others = evaluation.models
    tasks = {"": evaluation.metrics[-1], **{task.name: task.name for task in evaluation.tasks}}
    phrases = []
    for model in others or [first]:
        found = values(tasks, model.grid, first.grid if others else ())
        for one in evaluation.comparisons:
            reference = full_precision(first.grid)
            if one.model == model.name and reference is not None and reference.scores[one.task]:
                found[f"of_teacher_low/{one.task}"] = 1 + one.low / (100 * reference.scores[one.task])
        if len(evaluation.tasks) == 1 and f"of_teacher_low/{evaluation.tasks[0].name}" in found:
            found["of_teacher_low"] = found[f"of_teacher_low/{evaluation.tasks[0].name}"]
        phrases += broken(require, found, model.name)
    if phrases:
        raise GateError(f"{'; '.join(phrases)}; {folder / 'report.md'} has the rest")


def _grids(
    models: Sequence[EvaluatedModel],
    tasks: Sequence[AbsTask],
    dims: list[int] | None,
    precisions: Sequence[Precision],
    cache: Path,
) -> tuple[dict[str, GridResult], list[str]]:
    """Model -> what it scored, in every size and precision, and which models were left out.

    Models that look vectors up come first, so that a missing one is known before hours of encoding. A model whose queries have no vectors
    at all is left out: of an old index only the documents are known.
    """
    from lightning_embed.evaluation.stored import MissingVectors
    from lightning_embed.evaluation.tasks.grid import cell_count, evaluate_grid, grid_dims

    sizes, notes = grid_dims(dims, models), []
    found: dict[str, GridResult] = {}
    missing: MissingVectors | None = None
    for model in sorted(models, key=lambda model: not model.looks_up):
        own = sizes[model.name]
        with _Shown(model.name, cell_count(own, precisions, len(tasks))) as shown:
            try:
                found[model.name] = evaluate_grid(model, tasks, own, precisions, cache, shown.on_texts, shown.on_cell)
            except MissingVectors as error:
                if not error.all_queries:
                    raise
                missing = error
                notes.append(
                    f"model {model.name}: left out, since not one query of task {error.task} has a stored vector; to have it, {error.cure}"
                )
    if missing is not None and not found:
        raise missing
    return found, notes


def _about(models: Sequence[EvaluatedModel]) -> dict[str, str]:
    """Name -> what is to be said of a model, of those that a pair is made of too."""
    found: dict[str, str] = {}
    for model in models:
        found |= {model.name: model.about} if model.about else _about(model.inner)
    return found


def evaluation_of(
    scored: list[ScoredModel],
    tasks: Sequence[AbsTask],
    items: dict[str, dict[str, TaskItems]],
    resamples: int,
    notes: Sequence[str] = (),
) -> Evaluation:
    """Puts what models scored together, and compares each with the first.

    Args:
        scored: The models and their grids.
        tasks: What they were scored on.
        items: Model -> task -> what its score is made of.
        resamples: Of the bootstrap.
        notes: Lines for the report.
    """
    from importlib.metadata import version

    from lightning_embed.evaluation.reports.task_report import Evaluation, Overlap, ScoredTask
    from lightning_embed.evaluation.tasks.comparison import compare
    from lightning_embed.evaluation.tasks.items import shared

    first, *others = [model.name for model in scored]
    comparisons = [
        compare(task, (first, items[first][task]), (other, items[other][task]), resamples)
        for other in others
        for task in (t.metadata.name for t in tasks)
        if task in items[first] and task in items[other]
    ]
    described = [
        ScoredTask(t.metadata.name, t.metadata.type, t.metadata.main_score, str(t.metadata.revision)) for t in tasks
    ]
    versions = {name: version(name) for name in ("mteb", "sentence-transformers", "transformers", "torch")}
    names = [task.metadata.name for task in tasks]
    found = [
        Overlap(task, first, other, share)
        for other in others
        for task in names
        if task in items[first] and task in items[other]
        if (share := shared(items[first][task], items[other][task])) is not None
    ]
    return Evaluation(scored, described, comparisons, versions, found, list(notes))


class _Shown:
    """Shows how far a model's grid is: cells, and texts that had to be encoded."""

    def __init__(self, name: str, cells: int) -> None:
        self.name, self.cells, self.cell, self.done, self.texts = name, cells, "", -1, 0
        self.line = Activity()

    def __enter__(self) -> _Shown:
        return self

    def __exit__(self, *error: object) -> None:
        self.line.close()

    def on_texts(self, count: int) -> None:
        self.texts += count
        self._show()

    def on_cell(self, cell: str) -> None:
        self.done, self.cell = self.done + 1, cell
        self._show()

    def _show(self) -> None:
        if self.line.due():
            numbers = f"{self.done}/{self.cells} cells" + f", {self.texts:,} texts encoded" * bool(self.texts)
            self.line.show(f"{self.name}: {self.cell}", numbers, self.done, self.cells)


def checked_precisions(given: Sequence[str]) -> list[Precision]:
    """Precisions in the order of `PRECISIONS`.

    Args:
        given: Their names.

    Raises:
        UserError: One is unknown, or there is none.
    """
    wrong = [precision for precision in given if precision not in PRECISIONS]
    if wrong or not given:
        raise UserError(f"precisions: expected some of {', '.join(PRECISIONS)}, got {wrong[0] if wrong else 'none'}")
    return [precision for precision in PRECISIONS if precision in given]


def _check_numbers(batch_size: int, shots: int, resamples: int) -> None:
    for name, value, least in (("batch_size", batch_size, 1), ("shots", shots, 1), ("resamples", resamples, 100)):
        if value < least:
            raise UserError(f"{name}: must be at least {least}, got {value}")
