"""How a step's time grows: with the batch, with the texts' length, and with the rows of the corpus, each at 1, 4 and 16 times.

    python benchmarks/growth.py           # ours and sentence-transformers
    python benchmarks/growth.py --quick   # two sizes of each

The step is InfoNCE as in training.py. Linear in tokens and flat in rows is what it should be.
"""

import argparse
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from training import INFONCE, Job, compare

from lightning_embed.evaluation.reports.plots import COLOURS as OF_MODELS
from lightning_embed.evaluation.reports.plots import FAINT, figure_style, label_ends, png

COLOURS = {"ours": OF_MODELS["student after"], "sentence-transformers": OF_MODELS["student before"]}

SIZES = (1, 4, 16)


def jobs(quick: bool) -> dict[str, dict[int, Job]]:
    """What grows -> times -> job; all three begin with the same one.

    Args:
        quick: Only the first two sizes, of shorter texts.
    """
    base = Job(INFONCE, batch=8, median=24, longest=128 if quick else 256, steps=1, rows=500)
    grown = {
        "batch": lambda n: {"batch": base.batch * n},
        "length": lambda n: {"median": base.median * n, "longest": min(512, base.longest * n)},
        "rows": lambda n: {"rows": base.rows * n},
    }
    sizes = SIZES[:2] if quick else SIZES
    return {what: {n: replace(base, **change(n)) for n in sizes} for what, change in grown.items()}


def rows(quick: bool) -> list[dict[str, Any]]:
    """Seconds and real tokens of each arm's steps, by what grows and how much.

    Args:
        quick: As for `jobs`.
    """
    compared = cache(compare)
    found = []
    for what, sizes in jobs(quick).items():
        for times, job in sizes.items():
            for arm, turns in zip(("ours", "sentence-transformers"), compared(job).values(), strict=True):
                seconds = sum(turn["seconds"] for turn in turns[1:]) / job.steps
                tokens = sum(turn["tokens"] for turn in compared(job)["ours"][1:]) / job.steps
                row = {"grows": what, "times": times, "arm": arm, "tokens": tokens, "seconds": seconds}
                found.append(row | {"mb": turns[-1]["mb"]})
    return found


def table(found: list[dict[str, Any]]) -> str:
    """As Markdown.

    Args:
        found: What `rows` gave.
    """
    lines = ["| what grows | times | whose | tokens a step | s | MB |", "|---|---|---|---|---|---|"]
    lines += [
        f"| {r['grows']} | {r['times']} | {r['arm']} | {r['tokens']:,.0f} | {r['seconds']:.2f} | {r['mb']:,.0f} |"
        for r in found
    ]
    return "\n".join(lines)


def figure(found: list[dict[str, Any]], file: Path) -> None:
    """Seconds a step over what grows, both in logarithms, beside a line that is straight.

    Args:
        found: What `rows` gave.
        file: A .png file.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, NullFormatter

    names = {"batch": "Texts of a batch", "length": "Length of the texts", "rows": "Rows of the corpus"}
    with figure_style():
        drawing = Figure(figsize=(9, 3.6))
        axes = drawing.subplots(1, len(names), sharey=True)
        drawing.subplots_adjust(left=0.075, right=0.785, bottom=0.16, top=0.875, wspace=0.12)
        for axis, (what, name) in zip(axes, names.items(), strict=True):
            _panel(axis, [row for row in found if row["grows"] == what])
            axis.set_title(name)
            axis.set_xlabel("times as many")
            axis.tick_params(axis="y", left=axis is axes[0])
        axes[1].set_xlabel("times as long")
        axes[0].set_ylabel("seconds a step")
        axes[0].yaxis.set_major_formatter(FuncFormatter(lambda seconds, _: f"{seconds:g}"))
        axes[0].yaxis.set_minor_formatter(NullFormatter())
        last = {arm: [row for row in found if row["grows"] == "rows" and row["arm"] == arm][-1] for arm in COLOURS}
        first = next(row for row in found if row["grows"] == "rows" and row["arm"] == "ours")
        ends = [(arm, COLOURS[arm], float(row["times"]), row["seconds"]) for arm, row in last.items()]
        straight = first["seconds"] * last["ours"]["tokens"] / first["tokens"]
        label_ends(axes[-1], [*ends, ("as the tokens", FAINT, float(last["ours"]["times"]), straight)])
    file.write_bytes(png(drawing))


def _panel(axis: Any, found: list[dict[str, Any]]) -> None:
    """One thing that grows: a line for each side, and a dashed one in proportion to the tokens."""
    for arm, colour in COLOURS.items():
        points = [(row["times"], row["seconds"], row["tokens"]) for row in found if row["arm"] == arm]
        times, seconds, tokens = zip(*points, strict=True)
        if arm == "ours":
            straight = [seconds[0] * count / tokens[0] for count in tokens]
            axis.plot(times, straight, color=FAINT, lw=1.4, ls=(0, (5, 3)))
        axis.plot(times, seconds, color=colour, lw=2.2, marker="o", ms=6, mec="white", mew=0.8)
    axis.set_xscale("log", base=2)
    axis.set_yscale("log")
    axis.set_xticks(times, [str(number) for number in times])
    axis.minorticks_off()


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--figure", type=Path, help="also draw it")
    asked = parser.parse_args()
    found = rows(asked.quick)
    print(table(found))
    if asked.figure:
        figure(found, asked.figure)


if __name__ == "__main__":
    main()
