"""The end of a chain: one table, a page, its numbers, and a picture."""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_embed.errors import UserError
from lightning_embed.evaluation.metrics.grid import full_precision
from lightning_embed.evaluation.reports.plots import DPI, colours_of, draw_grid, figure_style, png
from lightning_embed.evaluation.reports.run_report import markdown_table
from lightning_embed.evaluation.reports.tables import Table, signed
from lightning_embed.evaluation.reports.task_report import Evaluation, task_table
from lightning_embed.recipe.scoring import BACKBONE, TEACHER, Summary, TaskScores
from lightning_embed.utils.atomic import write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.console import Console

COLOURS = {TEACHER: "#6b6b6b", BACKBONE: "#e08a00", "start": "#56b4e9", "own": "#0072b2"}


def tasks_table(summary: Summary) -> Table:
    """A row for each task: the full vectors in float32, in points, from the untouched backbone to the stage's student.

    Args:
        summary: What to say.
    """
    header = ["stage", "task: score", BACKBONE, "start", "after", "gain (95 % interval)", TEACHER]
    rows = []
    for scores in summary.tasks:
        points = {model: f"{value:.2f}" for model, value in full_scores(scores.evaluation).items()}
        start = _start(scores)
        gains = [c for c in scores.evaluation.comparisons if c.baseline == start and c.model == scores.stage]
        gain = [f"{signed(c.difference, 2)} ({signed(c.low, 2)} to {signed(c.high, 2)})" for c in gains]
        task = scores.evaluation.tasks[0]
        rows.append(
            [
                scores.stage,
                f"{task.name}: {task.metric}",
                points.get(BACKBONE, ""),
                points[start] if start else "",
                points[scores.stage],
                gain[0] if gain else "",
                points.get(TEACHER, ""),
            ]
        )
    return header, rows


def repeats_table(summary: Summary) -> Table:
    """A row for stages that differ in nothing but their seeds: the mean and standard deviation of what they score.

    Args:
        summary: What to say.
    """
    repeats: dict[str, list[TaskScores]] = defaultdict(list)
    for scores in summary.tasks:
        repeats[scores.repeat_of].append(scores)
    rows = []
    for own in repeats.values():
        if len(own) > 1:
            start = _start(own[0])
            points = full_scores(own[0].evaluation)
            after = [full_scores(scores.evaluation)[scores.stage] for scores in own]
            mean = statistics.mean(after)
            rows.append(
                [
                    ", ".join(scores.stage for scores in own),
                    f"{points[start]:.2f}" if start else "",
                    f"{mean:.2f} ± {statistics.stdev(after):.2f}",
                    signed(mean - points[start], 2) if start else "",
                    f"{points[TEACHER]:.2f}" if TEACHER in points else "",
                ]
            )
    return ["repeats", "start", "after: mean ± standard deviation", "gain", TEACHER], rows


def stages_table(summary: Summary) -> Table:
    """A row for each stage: what it started from, steps, time, and last loss.

    Args:
        summary: What to say.
    """
    from lightning_embed.utils.formatting import duration

    rows = [
        [
            one.name,
            one.after,
            f"{one.steps:,}",
            duration(one.seconds),
            str(one.stops),
            "" if one.loss is None else f"{one.loss:.4f}",
        ]
        for one in summary.outcomes
    ]
    return ["stage", "from", "steps", "time", "stops", "last loss"], rows


def full_scores(evaluation: Evaluation) -> dict[str, float]:
    """Model -> its score on the first task, the full vectors in float32, in points.

    Args:
        evaluation: Of one task.
    """
    found = {}
    for model in evaluation.models:
        full = full_precision(model.grid)
        assert full is not None
        found[model.name] = 100 * full.scores[evaluation.tasks[0].name]
    return found


def _start(scores: TaskScores) -> str | None:
    """The stage that a stage started from, if it is among the models."""
    first = scores.evaluation.models[0].name
    return None if first == scores.stage else first


def markdown(summary: Summary, picture: str) -> str:
    """The page.

    Args:
        summary: What to say.
        picture: The picture's name beside the page.
    """
    lines = [
        "# Recipe",
        "",
        "Each stage's student on its own task: full vectors in float32, in points (100 times mteb's",
        "",
    ]
    lines[2] += " main score). The interval is a paired bootstrap's over the task's items; one that holds 0 is noise."
    lines += markdown_table(tasks_table(summary))
    if (repeats := repeats_table(summary))[1]:
        lines += markdown_table(repeats)
    lines += [f'<img src="{picture}" width="900" alt="each task\'s score over the bytes of a stored vector">', ""]
    lines += ["## Stages", "", *markdown_table(stages_table(summary))]
    lines += ["## Fewer dims, lower precision", ""]
    lines += ["In brackets the change against the model's full vectors in float32: points, percent.", ""]
    for scores in summary.tasks:
        metric = scores.evaluation.tasks[0].name
        lines += [f"### {scores.stage}: {scores.evaluation.title(metric)}", ""]
        lines += markdown_table(task_table(scores.evaluation, metric))
    if summary.tasks:
        versions = summary.tasks[0].evaluation.versions
        lines += [", ".join(f"{name} {version}" for name, version in versions.items()) + ".", ""]
    return "\n".join(lines)


def picture(tasks: Sequence[TaskScores]) -> Figure:
    """A panel for each task: the score over the bytes of a stored vector.

    Args:
        tasks: At least one.
    """
    from matplotlib.figure import Figure

    columns = min(2, len(tasks))
    lines = -(-len(tasks) // columns)
    with figure_style():
        figure = Figure(figsize=(6.4 * columns, 4.2 * lines), dpi=DPI)
        panels = figure.subplots(lines, columns, squeeze=False).flat
        figure.subplots_adjust(
            left=0.07 / columns * 2,
            right=1 - 0.26 / columns,
            bottom=0.14 / lines,
            top=1 - 0.13 / lines,
            wspace=0.62,
            hspace=0.42,
        )
        for number, panel in enumerate(panels):
            if number >= len(tasks):
                panel.set_axis_off()
                continue
            scores = tasks[number]
            metric = scores.evaluation.tasks[0].name
            grids = {model.name: model.grid for model in scores.evaluation.models}
            draw_grid(panel, grids, metric, _colours(scores, list(grids)), legend=number == len(tasks) - 1)
            panel.set_title(f"{scores.stage}: {scores.evaluation.tasks[0].metric}")
    return figure


def _colours(scores: TaskScores, names: list[str]) -> dict[str, str]:
    known = {**COLOURS, scores.stage: COLOURS["own"], (_start(scores) or "start"): COLOURS["start"]}
    return {name: known.get(name) or colours_of([name])[name] for name in names}


def write_summary(summary: Summary, folder: Path) -> list[Path]:
    """Writes report.md, report.json and report.png.

    Args:
        summary: What to say.
        folder: Made if it is not there; files of these names in it are replaced.

    Raises:
        UserError: The folder cannot be written to.
    """
    files = {
        "report.md": markdown(summary, "report.png").encode("utf-8", "replace"),
        "report.json": (json.dumps(asdict(summary), indent=1) + "\n").encode(),
        "report.png": png(picture(summary.tasks)),
    }
    try:
        for name, content in files.items():
            write_whole(folder / name, content)
    except OSError as error:
        raise UserError(f"{folder}: the report cannot be written there ({error.strerror or error})") from None
    return [folder / name for name in files]


def print_summary(summary: Summary, files: Sequence[Path], console: Console | None = None) -> None:
    """Prints the tables, and where the files are.

    Args:
        summary: What to say.
        files: What was written.
        console: Where to; the terminal if not given.
    """
    from lightning_embed.evaluation.reports.terminal import print_tables

    tables = [("stages", stages_table(summary), 2), ("scores", tasks_table(summary), 2)]
    if (repeats := repeats_table(summary))[1]:
        tables.append(("the same with other seeds", repeats, 1))
    print_tables(tables, files, console)
