"""The student in its teacher's space, in the report at the end of a run."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lightning_embed import TextEncoder
from lightning_embed.checkpoints.student import load_student
from lightning_embed.evaluation.metrics.ranking import retrieval_scores
from lightning_embed.evaluation.reports.facts import SWAPS
from lightning_embed.evaluation.reports.run_report import load_report
from tests.cli.test_fit import config, run

Job = dict[str, Any]


@pytest.fixture
def job(teacher: Path, student: Path, pairs: Path, tmp_path: Path) -> Job:
    return config(teacher, student, pairs, tmp_path / "run")


def test_the_swaps_are_the_students_vectors_through_the_projection_beside_the_teachers(
    job: Job, teacher: Path, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(job, tmp_path, "--report.export", "false")
    checkpoint = tmp_path / "run/checkpoints/last.ckpt"
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    rows = [json.loads(line) for line in pairs.read_text().splitlines()]
    small, large = load_student(checkpoint), TextEncoder(str(teacher)).eval()

    def vectors(who: str, texts: list[str], role: str) -> torch.Tensor:
        if who == "teacher":
            return large.encode(texts, role)
        mapped = small.encode(texts, role) @ state["projection.weight"].T + state["projection.bias"]
        return torch.nn.functional.normalize(mapped, dim=-1)

    report = load_report(tmp_path / "run/report.json")
    assert [model.name for model in report.swaps] == list(SWAPS)
    positives = list(dict.fromkeys(row["positive"] for row in rows))
    own = torch.tensor([positives.index(row["positive"]) for row in rows])
    for model in report.swaps:
        asks, holds = SWAPS[model.name]
        queries = vectors(asks, [row["anchor"] for row in rows], "query")
        wanted = retrieval_scores(queries, vectors(holds, positives, "document"), own)
        assert model.score("ndcg@10") == pytest.approx(wanted["ndcg@10"], abs=2e-3)
        assert {(row.dim, row.precision) for row in model.grid} == {
            (48, precision) for precision in ("float32", "int8", "binary", "binary_rescore")
        }
    page, said = (tmp_path / "run/report.md").read_text(), capsys.readouterr().out
    assert "## In the teacher's space" in page and "| student | teacher |" in page
    assert "### student queries, teacher documents" in page and "in the teacher's space" in said
    assert "Among the teacher's own documents its queries keep" in page.splitlines()[2]


def test_a_student_of_the_teachers_size_is_compared_directly_and_another_not_at_all(
    job: Job, teacher: Path, tmp_path: Path
) -> None:
    losses = {"nce": {"loss": "InfoNCE"}}
    job["model"]["init_args"] |= {"projection": None, "losses": losses}
    run(job, tmp_path, "--trainer.max_steps", "1", "--report.export", "false")
    assert load_report(tmp_path / "run/report.json").swaps == []
    job["model"]["init_args"]["student"]["model"] = str(teacher)
    run(
        job,
        tmp_path,
        "--trainer.max_steps",
        "1",
        "--report.export",
        "false",
        "--trainer.default_root_dir",
        str(tmp_path / "b"),
    )
    scores = [model.score("ndcg@10") for model in load_report(tmp_path / "b/report.json").swaps]
    assert len(scores) == 3 and not np.isnan(scores).any()


def test_labels_have_no_queries_and_documents_and_the_report_has_no_swaps(job: Job, tmp_path: Path) -> None:
    file = tmp_path / "labels.jsonl"
    file.write_text("".join(json.dumps({"text": f"w{i} w{i % 3}", "label": f"c{i % 3}"}) + "\n" for i in range(30)))
    test = [{"path": str(file), "task": "classification", "columns": {"anchor": "text", "label": "label"}}]
    job["data"]["init_args"]["test"] = test
    run(job, tmp_path, "--trainer.max_steps", "1", "--report.export", "false")
    report = load_report(tmp_path / "run/report.json")
    assert report.swaps == [] and report.models[0].grid


def test_a_report_of_an_earlier_version_is_read(job: Job, tmp_path: Path) -> None:
    run(job, tmp_path, "--trainer.max_steps", "1", "--report.export", "false")
    file = tmp_path / "run/report.json"
    content = json.loads(file.read_text())
    del content["swaps"]
    file.write_text(json.dumps(content))
    assert load_report(file).swaps == []
