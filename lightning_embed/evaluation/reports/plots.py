"""The picture of a grid, and what all pictures of a report share.

Drawn on matplotlib figures of their own (no pyplot, no display, no global state), 9 inches wide: at `DPI` twice the width that a
README shows, so that they are sharp on every screen. Colours are Okabe and Ito's, which colour-blind readers tell apart.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from io import BytesIO
from typing import TYPE_CHECKING

from lightning_embed.errors import UserError
from lightning_embed.evaluation.metrics.grid import GridRow
from lightning_embed.evaluation.reports.names import metric_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 200
ROOM_FOR_DIMS = 5.0
"""Inches from which on there is room for the dims of each marker; small panels leave them out."""

INK, FAINT = "#3b3b3b", "#8a8a8a"
COLOURS = {"teacher": "#6b6b6b", "student before": "#e08a00", "student after": "#0072b2"}
_SPARE = ("#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#b09a00", "#6b6b6b", "#e08a00")
_MARKERS = {"float32": "o", "int8": "s", "binary_rescore": "^", "binary": "v"}
_PRECISION_NAMES = {"binary_rescore": "binary, rescored"}


def figure_style() -> AbstractContextManager[None]:
    """The look of all pictures, as a context to draw in."""
    import matplotlib

    return matplotlib.rc_context(
        {
            "font.family": "DejaVu Sans",
            "font.size": 10.5,
            "text.color": INK,
            "axes.edgecolor": "#b5b5b5",
            "axes.labelcolor": INK,
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
            "xtick.labelcolor": INK,
            "ytick.labelcolor": INK,
            "axes.formatter.useoffset": False,
            "lines.solid_capstyle": "round",
        }
    )


def colours_of(names: Sequence[str]) -> dict[str, str]:
    """A colour for each name: a model's own, else the next that is free.

    Args:
        names: Of models or losses.
    """
    spare = iter(_SPARE * (1 + len(names) // len(_SPARE)))
    return {name: COLOURS[name] if name in COLOURS else next(spare) for name in names}


def label_ends(axes: Axes, ends: Sequence[tuple[str, str, float, float]]) -> None:
    """Writes each (label, colour, x, y) to the right of its point, moved apart where two would overlap.

    Args:
        axes: Their limits must be set before this is called.
        ends: The label, its colour and the point in data coordinates.
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


def plot_grid(grids: Mapping[str, Sequence[GridRow]], metric: str = "ndcg@10", title: str | None = None) -> Figure:
    """Draws a score over the bytes that a stored vector takes: one strong line a model, through its best row for any budget.

    Args:
        grids: Model's name -> its grid rows, as `HeldOutMetric.grid` gives them; models without rows are left out.
        metric: The score to draw.
        title: How the picture calls it; None: `metric_title`.

    Raises:
        UserError: No model has rows, or the metric is in none of them.
    """
    grids = {name: [row for row in rows if metric in row.scores] for name, rows in grids.items()}
    grids = {name: rows for name, rows in grids.items() if rows}
    if not grids:
        raise UserError(f"nothing to draw: no grid row holds {metric!r}")
    from matplotlib.figure import Figure

    with figure_style():
        figure = Figure(figsize=(9, 5), dpi=DPI)
        axes = figure.add_axes((0.075, 0.125, 0.775, 0.735))
        draw_grid(axes, grids, metric, colours_of(list(grids)))
        axes.set_title(f"{title or metric_title(metric)}, times 100, by the size of a stored vector", pad=26)
        best_of = (
            "strong line: the best choice of dims (the numbers) and precision for a budget; faint: the other choices"
        )
        axes.text(0, 1.03, best_of, transform=axes.transAxes, color=FAINT, size=9.5)
    return figure


def draw_grid(
    axes: Axes, grids: Mapping[str, Sequence[GridRow]], metric: str, colours: Mapping[str, str], legend: bool = True
) -> None:
    """Draws what `plot_grid` draws, on given axes.

    Args:
        axes: Where.
        grids: Model's name -> its grid rows, all of which hold the metric.
        metric: The score to draw.
        colours: Model's name -> its colour.
        legend: Whether to explain the markers.
    """
    from matplotlib.lines import Line2D

    score_axis(axes)
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
        if axes.get_window_extent().width >= ROOM_FOR_DIMS * axes.figure.dpi:
            for row in best:
                _name_dims(axes, row, metric, colour)
        last = max(rows, key=lambda row: (row.bytes_per_vector, row.scores[metric]))
        ends.append((name, colour, float(last.bytes_per_vector), last.scores[metric]))
    sizes = sorted({row.bytes_per_vector for rows in grids.values() for row in rows})
    _byte_axis(axes, sizes)
    label_ends(axes, ends)
    present = [p for p in _MARKERS if any(row.precision == p for rows in grids.values() for row in rows)]
    if legend:
        axes.legend(
            [Line2D([], [], marker=_MARKERS[p], ls="", color=FAINT, ms=6.5) for p in present],
            [_PRECISION_NAMES.get(p, p) for p in present],
            loc="lower right",
            frameon=False,
            labelcolor=INK,
            handletextpad=0.2,
        )


def score_axis(axes: Axes) -> None:
    """Writes scores of 0 to 1 times 100, as the tables have them.

    Args:
        axes: Their y axis is of scores.
    """
    from matplotlib.ticker import FuncFormatter

    axes.yaxis.set_major_formatter(FuncFormatter(lambda score, _: f"{100 * score:.4g}"))


def _name_dims(axes: Axes, row: GridRow, metric: str, colour: str) -> None:
    """Writes how many dims a marker stands for, below it."""
    from matplotlib.patheffects import withStroke

    axes.annotate(
        str(row.dim),
        (row.bytes_per_vector, row.scores[metric]),
        xytext=(0, -7),
        textcoords="offset points",
        color=colour,
        size=8,
        ha="center",
        va="top",
        zorder=9,
        path_effects=[withStroke(linewidth=2, foreground="white")],
    )


def _byte_axis(axes: Axes, sizes: Sequence[int]) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    axes.set_xscale("log", base=2)
    axes.set_xlim(sizes[0] / 1.35, sizes[-1] * 1.35)
    low, high = math.floor(math.log2(sizes[0])), math.ceil(math.log2(sizes[-1]))
    every = 2 if high - low > 8 else 1
    ticks: list[float] = [2.0**power for power in range(low, high + 1, every)]
    axes.xaxis.set_major_locator(FixedLocator(ticks if high - low > 1 else sizes))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda size, _: f"{size / 1024:g} KiB" if size >= 1024 else f"{size:g} B")
    )
    axes.set_xlabel("bytes a vector (smaller: fewer dims, lower precision)")


def png(figure: Figure) -> bytes:
    """A figure as the bytes of a PNG.

    Args:
        figure: As the functions here return it.
    """
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, facecolor="white")
    return buffer.getvalue()
