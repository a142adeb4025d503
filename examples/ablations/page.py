"""What the arms of the ablations scored: the page and the picture, with the paper's figures next to ours."""

import json
import statistics
from collections.abc import Sequence
from pathlib import Path

from lightning_embed.evaluation.reports.curves import Curve, read_curves
from lightning_embed.recipe.chain import Job

METRIC = "ndcg@10"
PAPER_1 = {
    "NCE + distill + GOR": (64.50, 66.45), "NCE + distill": (64.21, 66.16), "NCE + GOR": (64.11, 66.11),
    "distill + GOR": (63.49, 65.05), "NCE": (63.38, 65.14), "distill": (63.16, 64.37),
}  # fmt: skip
"""MTEB retrieval, RTEB."""
PAPER_2 = {"NCE + distill + GOR": (-1.90, -2.51), "NCE + distill": (-3.08, -3.92)}
"""bf16 to binary, on MTEB retrieval and RTEB."""
PAPER_3 = {
    "distill, student's side, fitted": "",
    "distill, student's side, trainable": "ends best",
    "distill, student's side, frozen": "converges fastest",
    "distill, teacher's side, trainable": "collapses",
    "distill, teacher's side, frozen": "",
}
PAPER_4 = {
    "distill, student's side, fitted": "",
    "distill, student's side, trainable": "starts slowly, ends best",
    "stage 1 by NCE": "rises first and flattens",
    "stage 1 by score": "rises first and flattens",
}


def full(done: Job, precision: str = "float32", model: str = "student after") -> float:
    """nDCG@10 at full size on the held-out pairs, in points."""
    report = json.loads((done.folder / "report.json").read_text())
    found = next(m for m in report["models"] if m["name"] == model)
    row = next(r for r in found["grid"] if r["dim"] == found["dim"] and r["precision"] == precision)
    return 100 * row["scores"][METRIC]


def curve(done: Job) -> Curve:
    """Validation score over the steps of a run, resumed or not, in points."""
    points: dict[int, float] = {}
    for file in sorted(done.folder.glob("csv/version_*/metrics.csv")):
        steps, values = read_curves(file).get(f"val/{METRIC}", ([], []))
        points |= dict(zip((step + 1 for step in steps), (100 * value for value in values), strict=True))
    return sorted(points), [points[step] for step in sorted(points)]


def sameness(done: Job) -> float:
    """Mean cosine of two held-out texts, ‖mean unit vector‖²: 1 if all vectors are equal."""
    from lightning_embed.encoders.text_encoder import TextEncoder

    lines = (Path(done.places["data"]) / "pairs/test.jsonl").read_text(encoding="utf-8").splitlines()[:500]
    vectors = TextEncoder(str(done.folder / "model")).encode([json.loads(line)["positive"] for line in lines])
    return float(vectors.mean(0).square().sum())


def mean_sd(values: Sequence[float], digits: int = 2) -> str:
    """Mean ± standard deviation over seeds."""
    spread = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{spread}"


def tables(runs: dict[str, list[Job]]) -> str:
    """The four answers as a page, with the paper's figures next to ours."""
    seeds = len(next(iter(runs.values())))
    teacher = full(next(iter(runs.values()))[0], model="teacher")
    lines = [
        "# Ablations",
        "",
        f"nDCG@10 × 100 on held-out pairs, mean ± standard deviation of {seeds} seed(s). Teacher: {teacher:.2f}.",
        "",
    ]
    lines += [
        "## 1 Losses of the retrieval adapter",
        "",
        "| loss | nDCG@10 | against all three, seed by seed | paper: MTEB retrieval | paper: RTEB |",
        "|---|---:|---:|---:|---:|",
    ]
    best = [full(run) for run in runs[next(iter(PAPER_1))]]  # all three losses
    for name, paper in PAPER_1.items():
        found = [full(run) for run in runs[name]]
        lost = mean_sd([one - other for one, other in zip(found, best, strict=True)])
        lines.append(f"| {name} | {mean_sd(found)} | {lost} | {paper[0]:.2f} | {paper[1]:.2f} |")
    lines += ["", "## 2 What binary vectors lose", ""]
    lines += ["| loss | float32 | binary | change | paper's change: MTEB | RTEB |", "|---|---:|---:|---:|---:|---:|"]
    for name in ("NCE + distill", "NCE + distill + GOR", "NCE + distill + BinaryRobust"):
        whole, bits = [full(r) for r in runs[name]], [full(r, "binary") for r in runs[name]]
        lost = mean_sd([b - w for b, w in zip(bits, whole, strict=True)])
        paper = [f"{value:.2f}" for value in PAPER_2.get(name, ())] or ["", ""]
        lines.append(f"| {name} | {mean_sd(whole)} | {mean_sd(bits)} | {lost} | {' | '.join(paper)} |")
    lines += [
        "",
        "## 3 The projection",
        "",
        "| ψ | nDCG@10 | mean cosine of two texts | paper |",
        "|---|---:|---:|---|",
    ]
    for name, paper in PAPER_3.items():
        lines.append(
            f"| {name} | {mean_sd([full(r) for r in runs[name]])} | {mean_sd([sameness(r) for r in runs[name]], 3)} | {paper} |"
        )
    lines += [
        "",
        "## 4 The objective of stage 1",
        "",
        "| objective | first validation | last | paper |",
        "|---|---:|---:|---|",
    ]
    for name, paper in PAPER_4.items():
        first, last = (mean_sd([curve(r)[1][at] for r in runs[name]]) for at in (0, -1))
        lines.append(f"| {name} | {first} | {last} | {paper} |")
    return "\n".join([*lines, "", "![the four answers](ablations.png)", ""])


def draw(runs: dict[str, list[Job]], file: Path) -> None:
    """The four answers as a picture; every seed is a point or a thin line."""
    from matplotlib.figure import Figure

    from lightning_embed.evaluation.reports.plots import colours_of, figure_style, png

    with figure_style():
        figure = Figure(figsize=(13, 9), layout="constrained")
        (losses, bits), (sides, objectives) = figure.subplots(2, 2)
        for place, name in enumerate(reversed(PAPER_1)):
            losses.plot([full(r) for r in runs[name]], [place] * len(runs[name]), "o", color="#0072b2")
        losses.set(
            title="1 losses of the retrieval adapter",
            xlabel="nDCG@10 × 100",
            yticks=range(6),
            yticklabels=reversed(PAPER_1),
        )
        names = ["NCE + distill", "NCE + distill + GOR", "NCE + distill + BinaryRobust"]
        for name, colour in colours_of(names).items():
            for number, run in enumerate(runs[name]):
                bits.plot([0, 1], [full(run), full(run, "binary")], "o-", color=colour, label=None if number else name)
        bits.set(title="2 float32 to binary", ylabel="nDCG@10 × 100", xticks=[0, 1], xticklabels=["float32", "binary"])
        for axes, title, group in (
            (sides, "3 side of ψ, frozen or trained", PAPER_3),
            (objectives, "4 objective of stage 1", PAPER_4),
        ):
            for name, colour in colours_of(list(group)).items():
                for number, run in enumerate(runs[name]):
                    axes.plot(*curve(run), color=colour, lw=1.4, marker="o", ms=3, label=None if number else name)
            axes.set(title=title, xlabel="step", ylabel="validation nDCG@10 × 100")
        for axes in (bits, objectives):
            axes.legend(frameon=False, fontsize=9)
        sides.legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(0, 0.9))  # between the lines
    file.write_bytes(png(figure))
