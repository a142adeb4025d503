"""The two pictures of a report: what small vectors cost, and how the training went.

Drawn on matplotlib figures of their own (no pyplot, no display, no global state), 9 inches wide: at `DPI` twice the width that a
README shows, so that they are sharp on every screen. Colours are Okabe and Ito's, which colour-blind readers tell apart.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_embed.errors import UserError
from lightning_embed.evaluation.grid import GridRow

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 200

_INK, _FAINT = "#3b3b3b", "#8a8a8a"
_COLOURS = {"teacher": "#6b6b6b", "student before": "#e08a00", "student after": "#0072b2"}
_SPARE = ("#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#b09a00", "#6b6b6b", "#e08a00")
_MARKERS = {"float32": "o", "int8": "s", "binary_rescore": "^", "binary": "v"}
_PRECISION_NAMES = {"binary_rescore": "binary, rescored"}

Curve = tuple[list[int], list[float]]
"""Steps, and the value at each."""


def _style() -> AbstractContextManager[None]:
    import matplotlib

    return matplotlib.rc_context(
        {
            "font.family": "DejaVu Sans",
            "font.size": 10.5,
            "text.color": _INK,
            "axes.edgecolor": "#b5b5b5",
            "axes.labelcolor": _INK,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "axes.axisbelow": True,
            "axes.titlelocation": "left",
            "axes.titlesize": 12.5,
            "axes.titleweight": "bold",
            "axes.titlepad": 12,
            "grid.color": "#ececec",
            "xtick.color": "#b5b5b5",
            "ytick.color": "#b5b5b5",
            "xtick.labelcolor": _INK,
            "ytick.labelcolor": _INK,
            "lines.solid_capstyle": "round",
        }
    )


def _colours(names: Sequence[str]) -> dict[str, str]:
    spare = iter(_SPARE * (1 + len(names) // len(_SPARE)))
    return {name: _COLOURS[name] if name in _COLOURS else next(spare) for name in names}


def _label_ends(axes: Axes, ends: Sequence[tuple[str, str, float, float]]) -> None:
    """Writes each (label, colour, x, y) to the right of its point, moved apart where two would overlap.

    The axes' limits must stand when this is called.
    """
    from matplotlib.patheffects import withStroke

    halo = withStroke(linewidth=3, foreground="white")
    gap = 13.5  # points between two lines of text
    to_points = 72 / axes.figure.dpi
    placed = -math.inf
    for label, colour, x, y in sorted(ends, key=lambda end: end[3]):
        at = float(axes.transData.transform((x, y))[1]) * to_points
        placed = max(at, placed + gap)
        axes.annotate(
            label,
            (x, y),
            xytext=(9, placed - at),
            textcoords="offset points",
            color=colour,
            weight="bold",
            size=10,
            va="center",
            annotation_clip=False,
            zorder=10,
            path_effects=[halo],
        )


def _frontier(rows: Sequence[GridRow], metric: str) -> list[GridRow]:
    """The rows that no row of as few or fewer bytes beats, by rising bytes."""
    best: list[GridRow] = []
    for row in sorted(rows, key=lambda row: (row.bytes_per_vector, -row.scores[metric])):
        if not best or row.scores[metric] > best[-1].scores[metric]:
            best.append(row)
    return best


def _points(rows: Sequence[GridRow], metric: str) -> tuple[list[int], list[float]]:
    return [row.bytes_per_vector for row in rows], [row.scores[metric] for row in rows]


def plot_grid(grids: Mapping[str, Sequence[GridRow]], metric: str = "ndcg@10") -> Figure:
    """Draws a score over the bytes that a stored vector takes: one strong line a model, through its best row for any budget.

    Args:
        grids: Model's name -> its grid rows, as `robustness_grid` gives them; models without rows are left out.
        metric: The score to draw.

    Raises:
        UserError: No model has rows, or the metric is in none of them.
    """
    grids = {name: [row for row in rows if metric in row.scores] for name, rows in grids.items()}
    grids = {name: rows for name, rows in grids.items() if rows}
    if not grids:
        raise UserError(f"nothing to draw: no grid row holds {metric!r}")
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    with _style():
        figure = Figure(figsize=(9, 5), dpi=DPI)
        axes = figure.add_axes((0.075, 0.125, 0.775, 0.735))
        colours = _colours(list(grids))
        ends = []
        for order, (name, rows) in enumerate(grids.items()):
            colour = colours[name]
            best = _frontier(rows, metric)
            for precision, marker in _MARKERS.items():
                line = sorted((row for row in rows if row.precision == precision), key=lambda row: row.dim)
                axes.plot(*_points(line, metric), color=colour, lw=0.9, alpha=0.3, zorder=2)
                weaker, strong = [row for row in line if row not in best], [row for row in line if row in best]
                axes.plot(*_points(weaker, metric), marker, color=colour, ms=4.5, mew=0, alpha=0.45, zorder=2)
                axes.plot(*_points(strong, metric), marker, color=colour, ms=7, mec="white", mew=0.9, zorder=5 + order)
            axes.plot(*_points(best, metric), color=colour, lw=2.4, zorder=4)
            last = max(rows, key=lambda row: (row.bytes_per_vector, row.scores[metric]))
            ends.append((name, colour, float(last.bytes_per_vector), last.scores[metric]))
        sizes = sorted({row.bytes_per_vector for rows in grids.values() for row in rows})
        _byte_axis(axes, sizes)
        _label_ends(axes, ends)
        axes.set_title(f"{_title(metric)} by the size of a stored vector", pad=26)
        best_of = "strong line: the best choice of dims and precision for a budget; faint: the other choices"
        axes.text(0, 1.03, best_of, transform=axes.transAxes, color=_FAINT, size=9.5)
        present = [p for p in _MARKERS if any(row.precision == p for rows in grids.values() for row in rows)]
        axes.legend(
            [Line2D([], [], marker=_MARKERS[p], ls="", color=_FAINT, ms=6.5) for p in present],
            [_PRECISION_NAMES.get(p, p) for p in present],
            loc="lower right",
            frameon=False,
            labelcolor=_INK,
            handletextpad=0.2,
        )
    return figure


def _byte_axis(axes: Axes, sizes: Sequence[int]) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    axes.set_xscale("log", base=2)
    axes.set_xlim(sizes[0] / 1.35, sizes[-1] * 1.35)
    low, high = math.floor(math.log2(sizes[0])), math.ceil(math.log2(sizes[-1]))
    every = 2 if high - low > 8 else 1
    axes.xaxis.set_major_locator(FixedLocator([2.0**power for power in range(low, high + 1, every)]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda size, _: f"{size / 1024:g} KiB" if size >= 1024 else f"{size:g} B")
    )
    axes.yaxis.set_major_formatter(FuncFormatter(lambda score, _: f"{score:.2f}"))
    axes.set_xlabel("bytes a vector (smaller: fewer dims, lower precision)")


def _title(metric: str) -> str:
    kind, _, cutoff = metric.rpartition("/")[2].partition("@")
    return {"ndcg": "nDCG", "mrr": "MRR", "recall": "Recall"}.get(kind, kind) + (f"@{cutoff}" if cutoff else "")


def read_curves(path: str | Path) -> dict[str, Curve]:
    """Reads a metrics file of Lightning's CSVLogger; empty and non-finite cells are gaps.

    Args:
        path: CSV with a `step` column and one column a metric.

    Returns:
        Column -> its steps and values, columns without any value left out.

    Raises:
        UserError: The file cannot be read, has no `step` column, or a cell is no number.
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

    with _style():
        panels = bool(losses) + (metric in curves)
        figure = Figure(figsize=(9, 3.9), dpi=DPI)
        axes = list(figure.subplots(1, panels, squeeze=False)[0])
        figure.subplots_adjust(left=0.075, right=0.895, bottom=0.145, top=0.875, wspace=0.55)
        for panel in axes:
            panel.set_xlabel("step")
        if losses:
            _draw_losses(axes[0], losses)
        if metric in curves:
            _draw_metric(axes[-1], curves[metric], metric, teacher_score)
    return figure


def _is_loss(column: str) -> bool:
    """Whether a column is a loss of single steps: not an epoch's mean, not a weight, nothing nested deeper."""
    return column.startswith("train/") and column.count("/") == 1 and not column.endswith(("_epoch", "weight"))


def _draw_losses(axes: Axes, losses: Mapping[str, Curve]) -> None:
    from matplotlib.ticker import FuncFormatter, NullFormatter

    names = sorted(losses, key=lambda name: (name != "loss", name))
    colours = _colours([name for name in names if name != "loss"]) | {"loss": _INK}
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
    axes.margins(x=0.02)
    _label_ends(axes, ends)


def _draw_metric(axes: Axes, curve: Curve, metric: str, teacher_score: float | None) -> None:
    steps, values = curve
    colour = _COLOURS["student after"]
    axes.plot(steps, values, color=colour, lw=2.2, marker="o", ms=5, mec="white", mew=0.8)
    ends = [("student", colour, float(steps[-1]), values[-1])]
    if teacher_score is not None:
        axes.axhline(teacher_score, color=_COLOURS["teacher"], lw=1.4, ls=(0, (5, 3)))
        ends.append(("teacher", _COLOURS["teacher"], float(steps[-1]), teacher_score))
    axes.set_title(f"Validation {_title(metric)}")
    axes.margins(x=0.03, y=0.12)
    _label_ends(axes, ends)


def png(figure: Figure) -> bytes:
    """A figure as the bytes of a PNG.

    Args:
        figure: As the functions here return it.
    """
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, facecolor="white")
    return buffer.getvalue()
