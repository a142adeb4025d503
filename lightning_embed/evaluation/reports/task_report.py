"""The report of an evaluation: report.md, report.json, pictures, a TensorBoard entry, and tables in the terminal."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_embed.errors import UserError
from lightning_embed.evaluation.metrics.grid import GridRow, change, full_precision
from lightning_embed.evaluation.reports.names import metric_title, points
from lightning_embed.evaluation.reports.plots import plot_grid, png
from lightning_embed.evaluation.reports.run_report import markdown_table
from lightning_embed.evaluation.reports.tables import PRECISION_TITLES, Table, signed
from lightning_embed.evaluation.reports.terminal import fitting, print_tables
from lightning_embed.evaluation.tasks.comparison import CONFIDENCE, Comparison
from lightning_embed.evaluation.tasks.grid import MEAN
from lightning_embed.evaluation.tasks.items import TOP
from lightning_embed.utils.atomic import write_whole

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class ScoredModel:
    """A model and its grid."""

    name: str
    """As the tables call it."""
    source: str
    """What the user wrote."""
    fingerprint: str
    """Of its contents."""
    dim: int
    """D."""
    parameters: int | None
    """How many it has."""
    size_bytes: int | None
    """What it takes on disk."""
    grid: list[GridRow]
    """As `evaluate_grid` gives it."""
    pair: bool = False
    """Whether it is `A+B`, queries by A and documents by B."""


@dataclass(frozen=True)
class ScoredTask:
    """What a score is of."""

    name: str
    """As the tables call it."""
    kind: str
    """mteb's task type."""
    metric: str
    """mteb's main score."""
    revision: str
    """Of the data: a hash of the files, or the data set's revision."""


@dataclass(frozen=True)
class Overlap:
    """How many of the first model's best documents another model finds."""

    task: str
    """Its name."""
    baseline: str
    """The first model."""
    model: str
    """The other."""
    found: float
    """Of the first model's top `TOP`, the mean over queries."""


@dataclass(frozen=True)
class Evaluation:
    """All that an evaluation says; scores are 0 to 1, differences points."""

    models: list[ScoredModel]
    """The first is the one that the others are compared with."""
    tasks: list[ScoredTask]
    """In the order given."""
    comparisons: list[Comparison] = field(default_factory=list)
    """Of each further model with the first, by task."""
    versions: dict[str, str] = field(default_factory=dict)
    """Package -> version."""
    overlaps: list[Overlap] = field(default_factory=list)
    """Of each further model with the first, by retrieval task."""
    notes: list[str] = field(default_factory=list)
    """What else there is to say of models: which are left out, how a map was fitted."""

    @property
    def metrics(self) -> list[str]:
        """The tasks' names, with the mean of them where there are several."""
        names = [task.name for task in self.tasks]
        return [*names, MEAN] if len(names) > 1 else names

    def title(self, metric: str) -> str:
        """A task with its score's name: `cranfield (nDCG@10)`.

        Args:
            metric: A task's name, or `mean`.
        """
        return next(
            (f"{task.name} ({metric_title(task.metric)})" for task in self.tasks if task.name == metric), metric
        )


def scores_table(evaluation: Evaluation) -> Table:
    """A row for each model, a column for each task: the full vectors in float32, in points.

    Args:
        evaluation: What to say.
    """
    header = ["model", "dims", *(evaluation.title(metric) for metric in evaluation.metrics)]
    rows = []
    for model in evaluation.models:
        full = full_precision(model.grid)
        assert full is not None
        rows.append(
            [model.name, str(model.dim), *(f"{100 * full.scores[metric]:.2f}" for metric in evaluation.metrics)]
        )
    return header, rows


def task_table(evaluation: Evaluation, metric: str, long: bool = True) -> Table:
    """A row for each model and size, a column for each precision: points, and the change against the model's full vectors.

    Args:
        evaluation: What to say.
        metric: A task's name, or `mean`.
        long: Whether there is room for two decimals and the change in percent.
    """
    precisions = list(dict.fromkeys(row.precision for model in evaluation.models for row in model.grid))
    rows = []
    for model in evaluation.models:
        full = full_precision(model.grid)
        found = {(row.dim, row.precision): row for row in model.grid}
        for dim in sorted({row.dim for row in model.grid}, reverse=True):
            cells = [_cell(found.get((dim, precision)), full, metric, long) for precision in precisions]
            rows.append([model.name, str(dim), *cells])
    return ["model", "dims", *(PRECISION_TITLES[precision] for precision in precisions)], rows


def _cell(row: GridRow | None, full: GridRow | None, metric: str, long: bool) -> str:
    if row is None or full is None:
        return ""
    score = f"{100 * row.scores[metric]:.2f}" if long else points(row.scores[metric])
    if row is full:
        return score
    if not long:
        return f"{score} ({signed(change(row.scores[metric], full.scores[metric]).points, 1)})"
    lost = change(row.scores[metric], full.scores[metric])
    return f"{score} ({signed(lost.points, 2)}, {signed(lost.percent, 1)} %)"


def comparison_table(evaluation: Evaluation) -> Table:
    """A row for each comparison: the difference, its interval, and whether it is more than noise.

    Args:
        evaluation: What to say.
    """
    rows = [
        [
            c.task,
            f"{c.model} − {c.baseline}",
            signed(c.difference, 2),
            f"{signed(c.low, 2)} to {signed(c.high, 2)}",
            c.verdict,
        ]
        for c in evaluation.comparisons
    ]
    return ["task", "models", "points", f"{100 * CONFIDENCE:.0f} % interval", "verdict"], rows


def overlap_table(evaluation: Evaluation) -> Table:
    """A row for each overlap, in documents.

    Args:
        evaluation: What to say.
    """
    return ["task", "model", f"of {TOP}"], [[o.task, o.model, f"{o.found:.2f}"] for o in evaluation.overlaps]


def _overlap_title(evaluation: Evaluation) -> str:
    return f"of {evaluation.overlaps[0].baseline}'s top {TOP} documents, in the model's top {TOP}"


def markdown(evaluation: Evaluation, pictures: Mapping[str, str]) -> str:
    """The page.

    Args:
        evaluation: What to say.
        pictures: Metric -> its image's name beside the page.
    """
    lines = ["# Evaluation", "", "Full vectors in float32, in points (100 times mteb's main score):", ""]
    lines += markdown_table(scores_table(evaluation))
    if any(model.pair for model in evaluation.models):
        lines += [_PAIRS, ""]
    if evaluation.comparisons:
        lines += ["## Compared", "", _HOW_COMPARED, "", *markdown_table(comparison_table(evaluation))]
    if evaluation.overlaps:
        lines += [f"## Found {_overlap_title(evaluation)}", "", *markdown_table(overlap_table(evaluation))]
    lines += ["## Fewer dims, lower precision", "", _HOW_STORED, ""]
    for metric in reversed(evaluation.metrics):
        lines += [f"### {evaluation.title(metric)}", ""]
        if metric in pictures:
            lines += [
                f'<img src="{pictures[metric]}" width="900" alt="{metric} over the bytes of a stored vector">',
                "",
            ]
        lines += markdown_table(task_table(evaluation, metric))
    lines += ["## What was evaluated", ""]
    lines += [f"- model {m.name}: `{m.source}`, {m.dim} dims, contents {m.fingerprint}" for m in evaluation.models]
    lines += [f"- {line}" for line in evaluation.notes]
    lines += [f"- task {t.name}: {t.kind}, data {t.revision}" for t in evaluation.tasks]
    lines += ["- " + ", ".join(f"{name} {version}" for name, version in evaluation.versions.items()), ""]
    return "\n".join(lines)


_PAIRS = "A+B: queries by A, documents by B."
_HOW_COMPARED = (
    "Paired bootstrap over each task's queries, texts, pairs or experiments. An interval that holds 0 is called noise."
)
_HOW_STORED = (
    "In brackets the change against the model's full vectors in float32: points, percent. Vectors are cut, then brought to unit length "
    "where the model's own have it, then quantised. Rescoring is for retrieval; other tasks show their binary score there."
)


def write_evaluation(evaluation: Evaluation, folder: Path) -> list[Path]:
    """Writes report.md, report.json, report.png (and a picture for each of several tasks) and tensorboard/.

    Args:
        evaluation: What to say.
        folder: Made if it is not there; files of these names in it are replaced.

    Returns:
        The files.

    Raises:
        UserError: The folder cannot be written to.
    """
    metrics = evaluation.metrics
    figures = {
        metric: plot_grid({m.name: m.grid for m in evaluation.models}, metric, evaluation.title(metric))
        for metric in metrics
    }
    names = {metric: f"{re.sub(r'[^A-Za-z0-9._-]+', '-', metric)}.png" for metric in metrics}
    names[metrics[-1]] = "report.png"
    page = markdown(evaluation, names)
    files = {names[metric]: png(figure) for metric, figure in figures.items()}
    files["report.json"] = (json.dumps(asdict(evaluation), indent=2) + "\n").encode()
    files["report.md"] = page.encode("utf-8", "replace")
    try:
        for name, content in files.items():
            write_whole(folder / name, content)
        _tensorboard(evaluation, folder / "tensorboard", page)
    except OSError as error:
        raise UserError(f"{folder}: the report cannot be written there ({error.strerror or error})") from None
    return [folder / name for name in ("report.md", "report.json", "report.png", "tensorboard")]


def _tensorboard(evaluation: Evaluation, folder: Path, page: str) -> None:
    """A run for each model: its scores by task and precision over dims, so that the curves lie on each other."""
    from torch.utils.tensorboard import SummaryWriter

    for model in evaluation.models:
        with SummaryWriter(str(folder / re.sub(r"[^A-Za-z0-9._-]+", "-", model.name))) as writer:
            for row in model.grid:
                for metric in evaluation.metrics:
                    writer.add_scalar(f"{metric}/{row.precision}", 100 * row.scores[metric], row.dim)
    with SummaryWriter(str(folder / "report")) as writer:
        writer.add_text("report", page)
        figure = plot_grid({m.name: m.grid for m in evaluation.models}, evaluation.metrics[-1])
        writer.add_figure("grid", figure, close=False)


def print_evaluation(evaluation: Evaluation, files: Sequence[Path], console: Console | None = None) -> None:
    """Prints the tables, and where the files are.

    Args:
        evaluation: What to say.
        files: What was written.
        console: Where to; the terminal if not given.
    """
    from rich.console import Console

    console = console or Console()
    tables = [
        (f"{evaluation.title(metric)}, times 100 (change in points)", task_table(evaluation, metric, long=False), 1)
        for metric in evaluation.metrics
    ]
    tables.append(("full vectors, float32, times 100", fitting(scores_table(evaluation), console.width), 1))
    if evaluation.comparisons:
        tables.append(("compared (paired bootstrap)", comparison_table(evaluation), 2))
    if evaluation.overlaps:
        tables.append((_overlap_title(evaluation), overlap_table(evaluation), 2))
    print_tables(tables, files, console)
