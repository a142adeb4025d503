"""The picture of a training: losses and validation score over steps, from the file that Lightning's CSVLogger writes."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_embed.errors import UserError
from lightning_embed.evaluation.reports.names import metric_title
from lightning_embed.evaluation.reports.plots import (
    COLOURS,
    DPI,
    INK,
    colours_of,
    figure_style,
    label_ends,
    score_axis,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Curve = tuple[list[int], list[float]]
"""Steps, and the value at each."""


def read_curves(path: str | Path) -> dict[str, Curve]:
    """Reads a metrics file of Lightning's CSVLogger; empty and non-finite cells are gaps.

    Args:
        path: CSV with a `step` column and one column a metric.

    Returns:
        Column -> its steps and values, columns without any value left out.

    Raises:
        UserError: The file cannot be read, has no `step` column, or a cell is not a number.
    """
    curves: dict[str, Curve] = {}
    try:
        with open(path, newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            if "step" not in (reader.fieldnames or ()):
                raise UserError(
                    f"{path}: expected a CSVLogger metrics file with a `step` column, got {reader.fieldnames}"
                )
            for row in reader:
                for name, cell in row.items():
                    if name in ("step", "epoch") or not cell or not row["step"]:
                        continue
                    value = float(cell)
                    if math.isfinite(value):
                        steps, values = curves.setdefault(name, ([], []))
                        steps.append(int(float(row["step"])))
                        values.append(value)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot read the training metrics: {error}") from error
    except (TypeError, ValueError) as error:
        raise UserError(f"{path}, line {reader.line_num}: expected numbers, got {row}: {error}") from error
    return curves


def _smooth(values: Sequence[float]) -> list[float]:
    """An exponential mean over about a fiftieth of the points; the values themselves where there are few."""
    rate = 2 / (1 + max(1, len(values) // 50))
    smoothed: list[float] = []
    for value in values:
        smoothed.append(value if not smoothed else smoothed[-1] + rate * (value - smoothed[-1]))
    return smoothed


def plot_training(path: str | Path, metric: str = "val/ndcg@10", teacher_score: float | None = None) -> Figure:
    """Draws the losses (`train/loss` and every `train/<name>`) and the validation metric over steps.

    Args:
        path: A metrics file of Lightning's CSVLogger.
        metric: Column of the validation metric; its panel stays out where the file has no such values.
        teacher_score: The teacher's score on the same data, 0 to 1, drawn as a dashed line.

    Raises:
        UserError: As `read_curves`, or the file holds neither losses nor the metric.
    """
    curves = read_curves(path)
    losses = {name.removeprefix("train/"): curve for name, curve in curves.items() if _is_loss(name)}
    if not losses and metric not in curves:
        raise UserError(f"{path}: expected a column train/<name> or {metric}, got {', '.join(curves) or 'no values'}")
    from matplotlib.figure import Figure

    with figure_style():
        panels = bool(losses) + (metric in curves)
        figure = Figure(figsize=(9, 3.9), dpi=DPI)
        axes = list(figure.subplots(1, panels, squeeze=False)[0])
        figure.subplots_adjust(left=0.075, right=0.895, bottom=0.145, top=0.875, wspace=0.55)
        shown = [*losses.values(), *([curves[metric]] if metric in curves else [])]
        every_step = sorted({step for steps, _ in shown for step in steps})
        for panel in axes:
            _step_axis(panel, every_step)
        if losses:
            _draw_losses(axes[0], losses)
        if metric in curves:
            _draw_metric(axes[-1], curves[metric], metric, teacher_score)
    return figure


def _step_axis(axes: Axes, steps: Sequence[int]) -> None:
    """Whole steps from the first to the last that was logged, in every panel; where there is only one, that one in the middle."""
    from matplotlib.ticker import FixedLocator, MaxNLocator

    axes.set_xlabel("step")
    room = 0.03 * (steps[-1] - steps[0]) or 1
    axes.set_xlim(steps[0] - room, steps[-1] + room)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True) if len(steps) > 1 else FixedLocator(steps))


def _is_loss(column: str) -> bool:
    """Whether a column is a loss of single steps: not an epoch's mean, not a weight, nothing nested deeper."""
    return column.startswith("train/") and column.count("/") == 1 and not column.endswith(("_epoch", "weight"))


def _draw_losses(axes: Axes, losses: Mapping[str, Curve]) -> None:
    from matplotlib.ticker import FuncFormatter, NullFormatter

    names = sorted(losses, key=lambda name: (name != "loss", name))
    colours = colours_of([name for name in names if name != "loss"]) | {"loss": INK}
    least = min(min(values) for _, values in losses.values())
    most = max(max(values) for _, values in losses.values())
    if least > 0 and most > 30 * least:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    ends = []
    for name in names:
        steps, values = losses[name]
        smooth = _smooth(values)
        if len(values) >= 100:
            axes.plot(steps, values, color=colours[name], lw=0.6, alpha=0.2)
        axes.plot(
            steps,
            smooth,
            color=colours[name],
            lw=2.2 if name == "loss" else 1.6,
            marker="o" if len(values) == 1 else "",
        )
        ends.append(("total" if name == "loss" else name, colours[name], steps[-1], smooth[-1]))
    axes.set_title("Training losses")
    label_ends(axes, ends)


def _draw_metric(axes: Axes, curve: Curve, metric: str, teacher_score: float | None) -> None:
    steps, values = curve
    colour = COLOURS["student after"]
    axes.plot(steps, values, color=colour, lw=2.2, marker="o", ms=5, mec="white", mew=0.8)
    ends = [("student", colour, float(steps[-1]), values[-1])]
    if teacher_score is not None:
        axes.axhline(teacher_score, color=COLOURS["teacher"], lw=1.4, ls=(0, (5, 3)))
        ends.append(("teacher", COLOURS["teacher"], axes.get_xlim()[1], teacher_score))
    axes.set_title(f"Validation {metric_title(metric)}, times 100")
    score_axis(axes)
    axes.margins(y=0.12)
    label_ends(axes, ends)
