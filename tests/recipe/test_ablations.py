"""The ablations' arms, page and picture; `cache` runs a toy teacher, `fit` is played by a script that makes scores up."""

import json
import runpy
import sys
from pathlib import Path

import pytest
import yaml

from lightning_embed.recipe import stages
from tests.toys import toy_folder, toy_pairs

SCRIPT = Path(__file__).resolve().parents[2] / "examples/ablations/run.py"
FIT = """
import json, shutil, sys, yaml
from pathlib import Path
settings = yaml.safe_load(open(sys.argv[sys.argv.index("--config") + 1]))
folder = Path(settings["trainer"]["default_root_dir"])
shutil.copytree({toy!r}, folder / "model")
(folder / "model/modules.json").write_text("[]")
grid = [dict(dim=32, precision=p, scores={{"ndcg@10": s}}) for p, s in (("float32", 0.6), ("binary", 0.5))]
models = [dict(name=name, dim=32, grid=grid) for name in ("teacher", "student after")]
(folder / "report.json").write_text(json.dumps(dict(models=models)))
(folder / "csv/version_0").mkdir(parents=True)
(folder / "csv/version_0/metrics.csv").write_text("step,train/loss,val/ndcg@10\\n9,0.5,\\n9,,0.3\\n19,,0.4\\n")
"""


@pytest.mark.slow
def test_every_arm_is_a_fit_and_the_page_has_the_papers_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for split, rows in (("train", toy_pairs(100)), ("test", toy_pairs(30))):
        file = tmp_path / f"data/pairs/toys-{split}.jsonl"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    script = tmp_path / "fit.py"
    toy = str(toy_folder(tmp_path / "toy", "qwen3"))  # which reads the 256 tokens of the recipe
    script.write_text(FIT.format(toy=toy))
    monkeypatch.setattr(stages, "FIT", [sys.executable, str(script)])
    monkeypatch.setattr(stages, "POLL", 0.02)
    out = tmp_path / "out"
    toys = json.dumps({"teacher": toy, "student": toy, "layers": None, "dims": [16, 32]})
    words = ["--quick", "--data", str(tmp_path / "data"), "--out", str(out), "--values", toys]
    monkeypatch.setattr(sys, "argv", ["run.py", *words])
    monkeypatch.syspath_prepend(str(SCRIPT.parent))  # as `python run.py` has it
    for _ in range(2):  # the second finds every arm done
        runpy.run_path(str(SCRIPT), run_name="__main__")
    arms = {
        folder.name: yaml.safe_load((folder / "stage.yaml").read_text()) for folder in (out / "arms").glob("[a-z]*")
    }
    assert len(arms) == 14
    assert capfd.readouterr().out.count("teacher store: ") == 2  # `cache` tells twice what it did, once
    assert {arm["data"]["init_args"]["teacher_store"] for arm in arms.values()} == {str(out / "teachers")}
    assert list((out / "teachers").glob("*/*")) and len((out / "curve.jsonl").read_text().splitlines()) == 30
    arm = arms["nce_distill-0"]["model"]["init_args"]
    assert {name: term["weight"] for name, term in arm["losses"].items()} == {"nce": 1.0, "distill": 2.0}
    assert arm["student"]["model"] == str(out / "arms/distill__students_side__fitted-0/model")
    assert arms["distill__teachers_side__frozen-0"]["model"]["init_args"]["projection"] == {
        "direction": "teacher_to_student", "start": "random", "trainable": False,
    }  # fmt: skip
    page = (out / "ablations.md").read_text()
    assert "| NCE + distill + GOR | 60.00 | 0.00 | 64.50 | 66.45 |" in page
    assert "| NCE + distill | 60.00 | 50.00 | -10.00 | -3.08 | -3.92 |" in page
    assert "| stage 1 by NCE | 30.00 | 40.00 | rises first and flattens |" in page
    assert (out / "ablations.png").stat().st_size > 10_000
