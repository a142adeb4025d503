"""The picture of `gpu.py`: tokens a second by length, a panel for each model, a bar for each side."""

from pathlib import Path
from typing import Any

COLOURS = ("#1f5fa8", "#8fb8de", "#d97b29", "#123a66", "#b9b9b9")


def draw(points: list[dict[str, Any]], device: str, file: Path) -> None:
    """Draws grouped bars; above each stands its share of the chip's peak, or what went wrong.

    Args:
        points: What was measured.
        device: Where.
        file: The PNG.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    models = list(dict.fromkeys(point["model"] for point in points))
    figure, axes = pyplot.subplots(
        1, len(models), figsize=(6.4 * len(models), 4.2), squeeze=False, layout="constrained"
    )
    for axis, model in zip(axes[0], models, strict=True):
        mine = [point for point in points if point["model"] == model]
        names = list(mine[0]["cells"])
        width = 0.84 / len(names)
        for i, name in enumerate(names):
            for place, point in enumerate(mine):
                cell, x = point["cells"][name], place + (i - (len(names) - 1) / 2) * width
                height = cell.get("tokens_per_s") or 0
                axis.bar(x, height, 0.92 * width, color=COLOURS[i], label=name if place == 0 else None)
                share = cell.get("share_of_peak")
                said = cell["said"].split(":")[0] or (f"{share:.0%}" if share else "")
                axis.annotate(
                    said, (x, height), (0, 3), textcoords="offset points", ha="center", va="bottom", fontsize=7,
                    rotation=0 if height else 90, color="#444444",
                )  # fmt: skip
        axis.set_xticks(range(len(mine)), [f"{point['length']:,}" for point in mine])
        axis.set_xlabel("tokens of the longest text")
        axis.set_title(model, loc="left", fontsize=11, fontweight="bold")
        axis.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axis.grid(axis="y", color="#e5e5e5", linewidth=0.8)
        axis.set_axisbelow(True)
        axis.spines[["top", "right", "left"]].set_visible(False)
        axis.margins(y=0.12)
    axes[0][0].set_ylabel("tokens a second, training")
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False, fontsize=9)
    figure.supxlabel(f"{device}; above the bars: share of the dense bf16 peak", fontsize=8, color="#666666")
    figure.savefig(file, dpi=160)
    pyplot.close(figure)
