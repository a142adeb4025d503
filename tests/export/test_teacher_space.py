"""`export --space teacher`: a student whose vectors may be compared with its teacher's own."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from lightning_embed import TextEncoder
from tests.cli.test_fit import config, run
from tests.commands import run_words
from tests.conftest import read_in_this_process

TEXTS = [" ".join(f"w{(i * j) % 190}" for j in range(1, 2 + i % 12)) for i in range(24)]


@pytest.fixture(autouse=True)
def exports_are_read_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightning_embed.export.folder.read_in_new_process", read_in_this_process)


@pytest.fixture(scope="module")
def trained(teacher: Path, student: Path, pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    run(config(teacher, student, pairs, folder / "run"), folder, "--report.enabled", "false")
    return folder / "run/checkpoints/last.ckpt"


def changed(trained: Path, folder: Path, change: Any) -> Path:
    """The same run's folder with another model in its checkpoint, or other data beside it."""
    content, settings = (
        torch.load(trained, weights_only=True),
        yaml.safe_load((trained.parents[1] / "config.yaml").read_text()),
    )
    change(content, settings)
    (folder / "checkpoints").mkdir(parents=True)
    torch.save(content, folder / "checkpoints/last.ckpt")
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    return folder / "checkpoints/last.ckpt"


def export(checkpoint: Path, out: Path, *words: str) -> Path:
    (out.parent / "texts.txt").write_text("\n".join(TEXTS))
    run_words("export", str(checkpoint), str(out), "--texts", str(out.parent / "texts.txt"), *words)
    return out


def refused(capsys: pytest.CaptureFixture[str], *arguments: Any) -> str:
    with pytest.raises(SystemExit) as stop:
        export(*arguments)
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert stop.value.code == 2 and len(errors) == 1
    return errors[0]


def cosines(checkpoint: Path, teacher: Path, pairs: Path) -> np.ndarray:
    """The student's vectors through ψ against the teacher's, by the definition."""
    from lightning_embed.checkpoints.student import load_student

    rows = [json.loads(line) for line in pairs.read_text().splitlines()]
    texts = {"query": [row["anchor"] for row in rows], "document": [row["positive"] for row in rows]}
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    student, large = load_student(checkpoint), TextEncoder(str(teacher)).eval()
    found = []
    for role, some in texts.items():
        own = student.encode(some, role) @ state["projection.weight"].T + state["projection.bias"]
        found.append(torch.cosine_similarity(own, large.encode(some, role)).numpy())
    return np.concatenate(found)


def test_it_gives_the_students_vectors_in_the_teachers_space_and_says_how_near_they_are(
    trained: Path, teacher: Path, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from sentence_transformers import SentenceTransformer

    from lightning_embed.checkpoints.student import load_student

    folder = export(trained, tmp_path / "out", "--space", "teacher")
    state = torch.load(trained, weights_only=True)["state_dict"]
    mapped = load_student(trained).encode(TEXTS, "query") @ state["projection.weight"].T + state["projection.bias"]
    wanted = torch.nn.functional.normalize(mapped, dim=-1).numpy()
    found = SentenceTransformer(str(folder), device="cpu").encode_query(TEXTS)
    assert found.shape == (len(TEXTS), 48) and found == pytest.approx(wanted, abs=1e-5)
    near = cosines(trained, teacher, pairs)
    said = f"on 192 texts that the run held out: mean cosine {near.mean():.4f}, 5th percentile {np.quantile(near, 0.05):.4f}."
    card = (folder / "README.md").read_text()
    assert said in capsys.readouterr().out and said in card and f"in the space of its teacher, `{teacher.name}`" in card
    again = TextEncoder(str(folder)).eval()
    assert again.dim == 48 and again.encode(TEXTS, "query").numpy() == pytest.approx(wanted, abs=1e-5)


def test_fewer_dims_are_the_teachers_first(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = TextEncoder(str(export(trained, tmp_path / "whole", "--space", "teacher"))).eval().encode(TEXTS)[:, :16]
    folder = export(trained, tmp_path / "short", "--space", "teacher", "--dim", "16")
    wanted = torch.nn.functional.normalize(whole, dim=-1)
    torch.testing.assert_close(TextEncoder(str(folder)).eval().encode(TEXTS), wanted, rtol=0, atol=1e-5)
    assert (
        "was not measured: it is of whole vectors, and these are the first 16 of 48 entries" in capsys.readouterr().out
    )


def test_the_old_name_still_works_and_says_the_new_one(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = export(trained, tmp_path / "out", "--dense", "true")
    assert TextEncoder(str(folder)).dim == 48 and "give --space teacher" in capsys.readouterr().err


def test_without_held_out_texts_the_trained_ones_are_compared_and_it_is_said(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_held_out(content: Any, settings: Any) -> None:
        for split in ("validation", "test"):
            settings["data"]["init_args"][split] = None

    export(changed(trained, tmp_path / "run", no_held_out), tmp_path / "out", "--space", "teacher")
    assert "192 training texts of the run (it held none out): mean cosine 0." in capsys.readouterr().out


def test_data_or_a_teacher_that_are_gone_leave_the_export_as_it_is(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def data_gone(content: Any, settings: Any) -> None:
        settings["data"]["init_args"]["test"] = [{"path": "/nowhere/pairs.jsonl"}]

    def teacher_gone(content: Any, settings: Any) -> None:
        content["lightning_embed"]["model"]["init_args"]["teacher"]["init_args"]["model"] = "/nowhere"

    for change in (data_gone, teacher_gone):
        folder = tmp_path / change.__name__
        export(changed(trained, folder, change), folder / "out", "--space", "teacher")
        said = capsys.readouterr().out
        assert "was not measured" in said and "/nowhere" in said and (folder / "out/modules.json").is_file()


def test_a_student_that_is_not_in_the_teachers_space_is_refused(
    trained: Path, student: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_projection(content: Any, settings: Any) -> None:
        for name in ("weight", "bias"):
            del content["state_dict"][f"projection.{name}"]
        content["lightning_embed"]["model"]["init_args"]["projection"] = None

    def no_teacher(content: Any, settings: Any) -> None:
        no_projection(content, settings)
        content["lightning_embed"]["model"]["init_args"]["teacher"] = None

    def other_side(content: Any, settings: Any) -> None:
        content["lightning_embed"]["model"]["init_args"]["projection"]["init_args"]["direction"] = "teacher_to_student"

    for change, said in (
        (no_projection, "the student's vectors have 32 entries and the teacher's 48"),
        (no_teacher, "the run had no teacher"),
        (other_side, "from the teacher's space to the student's"),
    ):
        folder = tmp_path / change.__name__
        checkpoint = changed(trained, folder, change)
        assert said in refused(capsys, checkpoint, folder / "out", "--space", "teacher")
        assert not (folder / "out").exists()
    assert "is a model's folder" in refused(capsys, student, tmp_path / "out", "--space", "teacher")


def test_a_student_of_the_teachers_size_needs_no_projection(
    teacher: Path, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = config(teacher, teacher, pairs, tmp_path / "run")
    del job["model"]["init_args"]["projection"]
    run(job, tmp_path, "--report.enabled", "false")
    export(tmp_path / "run/checkpoints/last.ckpt", tmp_path / "out", "--space", "teacher")
    assert "192 texts that the run held out: mean cosine 0.9" in capsys.readouterr().out
