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
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    names = {"batch": "texts of a batch", "length": "length of the texts", "rows": "rows of the corpus"}
    drawing, axes = plt.subplots(1, len(names), figsize=(10, 3.4), sharey=True, layout="constrained")
    for axis, (what, name) in zip(axes, names.items(), strict=True):
        for arm, colour in (("ours", "#1f5fa8"), ("sentence-transformers", "#c2571a")):
            points = [(r["times"], r["seconds"], r["tokens"]) for r in found if r["grows"] == what and r["arm"] == arm]
            times, seconds, tokens = zip(*points, strict=True)
            axis.plot(times, seconds, "o-", color=colour, label=arm)
            if arm == "ours":
                axis.plot(
                    times,
                    [seconds[0] * t / tokens[0] for t in tokens],
                    ":",
                    color="grey",
                    label="in proportion to tokens",
                )
        axis.set_xscale("log", base=2)
        axis.set_yscale("log")
        axis.set_xlabel(f"{name}, times")
        axis.set_xticks(times, [str(t) for t in times])
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("seconds a step")
    axes[0].legend(fontsize=8)
    drawing.savefig(file, dpi=130)
    plt.close(drawing)


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
