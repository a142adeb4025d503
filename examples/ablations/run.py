"""The paper's four ablations on the recipe's demo: the same questions, small models, your machine.

    python examples/ablations/run.py [--quick] [--data FOLDER] [--out runs/ablations]

    1 which losses of the retrieval adapter matter: six combinations of InfoNCE, distillation and GOR
    2 what binary vectors lose without GOR, with it, and with BinaryRobust instead
    3 which side ψ belongs on, whether it should train, and how it should start; the spread of the vectors shows a collapse
    4 stage 1 by distillation, InfoNCE, or the squared difference of scores, over the steps

ψ starts at random, as in the paper, except where an arm's name says `fitted`, as in the recipe; all adapters start from that student.
Every arm is a `fit` of examples/recipe/demo/stage1.yaml or retrieval.yaml with different losses or a different projection. Scores are
nDCG@10 on the held-out pairs, curves on the first 200 of them. The teacher runs once, over all texts: `cache` writes its vectors to --out,
where every arm finds them. The same command resumes a stopped run: finished arms are kept there too.
Small models on one domain need not answer as the paper's did; the paper's own figures are printed next to ours.
"""

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from jsonargparse.typing import Path_fr

from lightning_embed.evaluation.reports.curves import Curve, read_curves
from lightning_embed.recipe.chain import Job, Stage, merged, replaced, scaled
from lightning_embed.recipe.data import Prepared, prepare
from lightning_embed.recipe.run import train
from lightning_embed.recipe.stages import is_done
from lightning_embed.utils.configs import read_config

RECIPE = Path(__file__).resolve().parents[1] / "recipe"
METRIC = "ndcg@10"
CURVE_PAIRS = 200
NCE = {"class_path": "InfoNCE", "init_args": {"temperature": 0.02, "learnable_temperature": True}}
LOSSES: dict[str, tuple[dict[str, Any], float]] = {
    "NCE": (NCE, 1.0),
    "distill": ({"class_path": "Distillation"}, 2.0),
    "GOR": ({"class_path": "GOR"}, 1.0),
    "BinaryRobust": ({"class_path": "BinaryRobust"}, 1.0),
    "score": ({"class_path": "ScoreDistillation", "init_args": {"temperature": 0.02}}, 1.0),
}
"""Name -> loss and the recipe's weight."""


@dataclass(frozen=True)
class Arm:
    """One way to train."""

    name: str
    losses: tuple[str, ...]
    adapter: bool = True
    projection: dict[str, Any] = field(default_factory=dict)


ADAPTERS = [
    Arm("NCE + distill + GOR", ("NCE", "distill", "GOR")),
    Arm("NCE + distill", ("NCE", "distill")),
    Arm("NCE + GOR", ("NCE", "GOR")),
    Arm("distill + GOR", ("distill", "GOR")),
    Arm("NCE", ("NCE",)),
    Arm("distill", ("distill",)),
    Arm("NCE + distill + BinaryRobust", ("NCE", "distill", "BinaryRobust")),
]
STUDENT = {"direction": "student_to_teacher", "start": "random"}
TEACHER = {"direction": "teacher_to_student", "start": "random"}
FIRST = [
    Arm("distill, student's side, fitted", ("distill",), False, STUDENT | {"start": "fitted"}),
    Arm("distill, student's side, trainable", ("distill",), False, STUDENT | {"trainable": True}),
    Arm("distill, student's side, frozen", ("distill",), False, STUDENT | {"trainable": False}),
    Arm("distill, teacher's side, trainable", ("distill",), False, TEACHER | {"trainable": True}),
    Arm("distill, teacher's side, frozen", ("distill",), False, TEACHER | {"trainable": False}),
    Arm("stage 1 by NCE", ("NCE",), False),
    Arm("stage 1 by score", ("score",), False),
]
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


def job(arm: Arm, seed: int, asked: argparse.Namespace, data: Prepared, base: Job | None) -> Job:
    """The arm as a stage that `recipe` can train."""
    file = RECIPE / "demo" / ("retrieval.yaml" if arm.adapter else "stage1.yaml")
    chain = read_config(RECIPE / "demo.yaml")
    model: dict[str, Any] = {"losses": {}}
    for name in arm.losses:
        loss, weight = LOSSES[name]
        nested = {"class_path": "Matryoshka", "init_args": {"loss": loss, "dims": "$dims"}}
        model["losses"][name.lower()] = {"loss": nested, "weight": weight if len(arm.losses) > 1 else 1.0}
    settings = merged(chain["shared"], read_config(file))
    settings["model"]["init_args"].pop("losses")
    settings = merged(
        settings, {"model": {"init_args": model | ({"projection": arm.projection} if arm.projection else {})}}
    )
    settings["seed_everything"] = settings["data"]["init_args"]["seed"] = seed
    settings["data"]["init_args"] |= {
        "test": [{"path": "$data/pairs/test.jsonl", "name": "held out"}],
        "teacher_store": "$out/teachers",
    }
    if not arm.adapter:
        settings["data"]["init_args"]["validation"] = [{"path": "$out/curve.jsonl", "name": "curve"}]
        settings["trainer"] |= {
            "val_check_interval": max(1, settings["trainer"]["max_steps"] // 6),
            "check_val_every_n_epoch": None,
        }
    known = chain["values"] | json.loads(asked.values) | {name: f"${name}" for name in ("after", "data", "out")}
    settings = scaled(replaced(settings, known, arm.name), asked.steps)
    places = {"data": str(data.folder), "out": str(asked.out)} | ({"after": str(base.folder)} if base else {})
    folder = asked.out / "arms" / f"{slug(arm.name)}-{seed}"
    return Job(Stage(folder.name, Path_fr(str(file))), base, folder, settings, places, data.identity)


def store_teacher(base: Job) -> None:
    """Runs the teacher over the texts that are not stored yet: one arm's, because all arms read the same pairs."""
    test = (Path(base.places["data"]) / "pairs/test.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    out = Path(base.places["out"])
    (out / "curve.jsonl").write_text("".join(test[:CURVE_PAIRS]), encoding="utf-8")
    (out / "cache.yaml").write_text(yaml.safe_dump(base.runnable(), sort_keys=False), encoding="utf-8")
    words = [sys.executable, "-m", "lightning_embed", "cache", "--config", str(out / "cache.yaml")]
    if code := subprocess.run(words).returncode:
        raise SystemExit(code)


def slug(name: str) -> str:
    """A folder's name for an arm."""
    return "".join(c if c.isalnum() else "_" for c in name.replace(" + ", "_").replace("'", "").lower())


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
    best = [full(run) for run in runs[ADAPTERS[0].name]]
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


def main() -> None:
    """Trains the arms that are missing, and writes the page and the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a hundredth of the steps, 400 rows, one seed")
    parser.add_argument("--data", default="python-docs", help="as for `recipe`")
    parser.add_argument("--sample", type=int, help="maximum number of training rows (16,000; quick: 400)")
    parser.add_argument("--steps", type=float, help="factor of the demo's steps (1; quick: 0.01)")
    parser.add_argument("--seeds", type=int, help="runs of each arm (3; quick: 1)")
    parser.add_argument("--values", default="{}", help="values that replace the demo's, as JSON: models, layers, dims")
    parser.add_argument("--out", type=Path, help="runs/ablations (quick: runs/ablations-quick)")
    asked = parser.parse_args()
    asked.sample = asked.sample or (400 if asked.quick else 16_000)
    asked.steps = asked.steps or (0.01 if asked.quick else 1.0)
    asked.seeds = asked.seeds or (1 if asked.quick else 3)
    asked.out = asked.out or Path("runs/ablations-quick" if asked.quick else "runs/ablations")
    data = prepare(asked.data, asked.sample, asked.out / "data")
    base = job(FIRST[0], 0, asked, data, None)
    arms = (*FIRST, *ADAPTERS)
    runs = {
        arm.name: [job(arm, seed, asked, data, base if arm.adapter else None) for seed in range(asked.seeds)]
        for arm in arms
    }
    chain = [runs[arm.name][seed] for seed in range(asked.seeds) for arm in arms]
    if not all(is_done(made) for made in chain):
        store_teacher(base)
    train(chain, redo=False)
    page = tables(runs)
    (asked.out / "ablations.md").write_text(page, encoding="utf-8")
    draw(runs, asked.out / "ablations.png")
    print(page)


if __name__ == "__main__":
    from lightning_embed.cli.parser import fail
    from lightning_embed.errors import UserError

    try:
        main()
    except UserError as error:
        fail(str(error))
    except KeyboardInterrupt:
        raise SystemExit(130) from None
