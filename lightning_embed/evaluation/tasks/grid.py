"""The dims x precision grid over mteb tasks: each text is encoded once, each cell is mteb's own evaluation of what it became."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_embed.compat.datasets import offline_if_unreachable
from lightning_embed.compat.mteb import random_state, set_random_state
from lightning_embed.errors import UserError, first_line
from lightning_embed.evaluation.metrics.grid import GridRow, halved_dims
from lightning_embed.evaluation.metrics.quantize import PRECISIONS, Precision, bytes_per_vector, check_precision
from lightning_embed.evaluation.tasks.items import Items, TaskItems, collect_items
from lightning_embed.utils.atomic import write_whole

if TYPE_CHECKING:
    from mteb.abstasks import AbsTask

    from lightning_embed.evaluation.models import EvaluatedModel

MEAN = "mean of tasks"
"""The score of a row that averages its tasks."""


@dataclass(frozen=True)
class GridResult:
    """What a model scored."""

    rows: list[GridRow]
    """From the largest size down; scores are mteb's main scores by task, with `MEAN` where there are several tasks."""
    items: dict[str, TaskItems]
    """Task -> what its score at full size in float32 is made of; tasks where this is not known are left out."""
    encoded: int
    """Texts that were not in the cache."""


def grid_dims(dims: Sequence[int] | None, models: Sequence[EvaluatedModel]) -> dict[str, list[int]]:
    """The sizes of each model's grid, its own full one always among them.

    Args:
        dims: The Matryoshka list; None: D and its halves, down to 32.
        models: Whose.

    Raises:
        UserError: A size is below 1, or larger than a model's.
    """
    sizes = {}
    for model in models:
        wrong = [dim for dim in dims or [] if not 1 <= dim <= model.dim]
        if wrong:
            raise UserError(
                f"dims: model '{model.name}' has {model.dim} dims, so give 1 to {model.dim}, got {wrong[0]}"
            )
        sizes[model.name] = sorted({*(dims or halved_dims(model.dim)), model.dim}, reverse=True)
    return sizes


def cell_count(dims: Sequence[int], precisions: Sequence[Precision], tasks: int) -> int:
    """How many evaluations a grid is.

    Args:
        dims: Its sizes.
        precisions: Of `float32`, `int8`, `binary` and `binary_rescore`.
        tasks: How many tasks.
    """
    return tasks * (len(dims) * len(precisions) + (0 if "float32" in precisions else 1))


def evaluate_grid(
    model: EvaluatedModel,
    tasks: Sequence[AbsTask],
    dims: Sequence[int],
    precisions: Sequence[Precision] = PRECISIONS,
    cache: Path | None = None,
    on_texts: Callable[[int], None] = lambda count: None,
    on_cell: Callable[[str], None] = lambda what: None,
) -> GridResult:
    """Scores a model in every size and precision on every task.

    The cell of all D entries in float32 is the model as mteb itself would evaluate it. Where a task has no search to rescore, the
    score of `binary_rescore` is that of `binary`: the same bits are stored.

    Args:
        model: The model.
        tasks: mteb tasks.
        dims: Sizes, as `grid_dims` gives them.
        precisions: See `Precision`.
        cache: Where vectors and finished cells are kept; None: nowhere.
        on_texts: Called with a number of texts whenever so many were encoded.
        on_cell: Called with `TASK DIM PRECISION` before each cell.

    Raises:
        UserError: A task's data cannot be had, or the model's vectors are not finite.
    """
    from lightning_embed.evaluation.tasks.encoder import task_encoder

    for precision in precisions:
        check_precision(precision)
    whole = task_encoder(model, cache / "embeddings" if cache else None, on_texts)
    scores: dict[tuple[int, Precision], dict[str, float]] = {}
    items = {}
    cells: list[tuple[int, Precision]] = [(dim, precision) for dim in dims for precision in precisions]
    cells = list(dict.fromkeys([(model.dim, "float32"), *cells]))
    for task in tasks:
        _load(task)
        name = task.metadata.name
        state = random_state(task)
        for dim, precision in cells:
            on_cell(f"{name} {dim} {precision}")
            if precision == "binary_rescore" and not _searches(task) and (dim, "binary") in cells:
                scores.setdefault((dim, precision), {})[name] = scores[(dim, "binary")][name]
                continue
            # a cell's random draws must not depend on the cells before it
            set_random_state(task, state)
            full = (dim, precision) == (model.dim, "float32")
            score, found = _cell(whole, task, None if full else (dim, precision), _results(task, cache))
            scores.setdefault((dim, precision), {})[name] = score
            if found is not None:
                items[name] = found
    order = sorted(cells, key=lambda cell: (-cell[0], cells.index(cell) if cell != cells[0] else -1))
    rows = [
        GridRow(dim, precision, bytes_per_vector(dim, precision), scores[(dim, precision)]) for dim, precision in order
    ]
    if len(tasks) > 1:
        for row in rows:
            row.scores[MEAN] = sum(row.scores.values()) / len(tasks)
    return GridResult(rows, items, whole.encoded)


def require_queries(models: Sequence[EvaluatedModel], tasks: Sequence[AbsTask]) -> None:
    """Raises `UserError` for a pair of models on a task that has no queries and documents.

    Args:
        models: The models.
        tasks: The tasks.
    """
    pairs = [model.name for model in models if model.halves is not None]
    others = [f"{task.metadata.name} ({task.metadata.type})" for task in tasks if not _searches(task)]
    if pairs and others:
        raise UserError(
            f"model '{pairs[0]}': a pair embeds queries and documents, and task {others[0]} has none; give retrieval tasks alone"
        )


def queries_of(tasks: Sequence[AbsTask]) -> set[str]:
    """The queries of all retrieval tasks; fetches the data of stock ones.

    Args:
        tasks: The tasks.

    Raises:
        UserError: A task's data cannot be had.
    """
    found: set[str] = set()
    for task in filter(_searches, tasks):
        _load(task)
        dataset: Any = task.dataset
        texts = (text for subset in dataset.values() for split in subset.values() for text in split["queries"]["text"])
        found.update(text for text in texts if isinstance(text, str))
    return found


def _searches(task: AbsTask) -> bool:
    from mteb.abstasks import AbsTaskRetrieval

    return isinstance(task, AbsTaskRetrieval)


def _results(task: AbsTask, cache: Path | None) -> Path | None:
    """Where a task's results are kept. mteb would take an old result for changed data: here each revision has its own folder."""
    import mteb

    revision = f"{task.metadata.revision}-mteb{mteb.__version__}"
    return cache / "results" / f"{task.metadata.name}-{revision}".replace("/", "_") if cache else None


def _load(task: AbsTask) -> None:
    """Has a stock task fetch its data, and says what."""
    import sys

    if task.data_loaded:
        return
    source = task.metadata.dataset["path"]
    print(f"task {task.metadata.name}: data set {source}, from the Hugging Face hub or its cache", file=sys.stderr)
    with offline_if_unreachable() as unreachable:
        try:
            task.load_data()
        except Exception as error:  # no network, gated, gone: the hub's clients raise many kinds
            reason = ("the hub does not answer: " if unreachable else "") + first_line(unreachable or error, 200)
            raise UserError(f"task {task.metadata.name}: its data set {source} could not be had ({reason})") from None


def _cell(
    whole: Any, task: AbsTask, derived: tuple[int, Precision] | None, folder: Path | None
) -> tuple[float, TaskItems | None]:
    """One evaluation by mteb: its main score, and for the whole model (`derived` is None) what that is made of."""
    import mteb
    from mteb.cache import ResultCache

    cache = None if folder is None else ResultCache(folder)
    if derived is not None:
        result = mteb.evaluate(
            _derived(whole, task, *derived), task, cache=_mended(cache, task, whole.model, derived), **_QUIET
        )
        return float(result.task_results[0].get_score()), None
    kept = folder / "items-10" / f"{whole.model.fingerprint}.json" if folder else None
    if kept is not None and kept.is_file():
        result = mteb.evaluate(whole, task, cache=_mended(cache, task, whole.model, None), **_QUIET)
        return float(result.task_results[0].get_score()), _read_items(kept)
    with tempfile.TemporaryDirectory() as predictions:
        result = mteb.evaluate(
            whole, task, cache=cache, overwrite_strategy="always", prediction_folder=predictions, **_QUIET
        )
        items = collect_items(task, result.task_results[0], Path(predictions))
    if kept is not None:
        _write_items(kept, items)
    return float(result.task_results[0].get_score()), items


_QUIET: dict[str, Any] = {"show_progress_bar": False, "co2_tracker": False}


def _derived(whole: Any, task: AbsTask, dim: int, precision: Precision) -> Any:
    from lightning_embed.evaluation.tasks.encoder import SizedEncoder, quantized_search

    if precision == "float32" or not _searches(task):
        return SizedEncoder(whole, dim, "binary" if precision == "binary_rescore" else precision)
    return quantized_search(whole, dim, precision)


def _mended(cache: Any, task: AbsTask, model: EvaluatedModel, derived: tuple[int, Precision] | None) -> Any:
    """The cache without the result of a run that was killed while it wrote it."""
    from lightning_embed.evaluation.tasks.encoder import meta_of

    if cache is not None:
        meta = meta_of(model, *(derived or ()))
        try:
            cache.load_task_result(task.metadata.name, meta)
        except ValueError:
            cache.get_task_result_path(task.metadata.name, meta).unlink()
    return cache


def _read_items(path: Path) -> TaskItems | None:
    found = json.loads(path.read_text(encoding="utf-8"))
    return None if found is None else {part: Items(**items) for part, items in found.items()}


def _write_items(path: Path, items: TaskItems | None) -> None:
    write_whole(path, json.dumps(None if items is None else {part: asdict(i) for part, i in items.items()}))
