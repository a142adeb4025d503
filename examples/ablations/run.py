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
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from jsonargparse.typing import Path_fr
from page import draw, tables  # beside this file

from lightning_embed.recipe.chain import Job, Stage, merged, replaced, scaled
from lightning_embed.recipe.data import Prepared, prepare
from lightning_embed.recipe.run import train
from lightning_embed.recipe.stages import is_done
from lightning_embed.utils.configs import read_config

RECIPE = Path(__file__).resolve().parents[1] / "recipe"
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
