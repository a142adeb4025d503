"""A job with several teachers, as docs/losses.md has it: what a user types and gets back."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch
import yaml

from lightning_embed import EmbeddingModule, StoredTeacher, import_vectors
from lightning_embed.evaluation.of_run import teacher_of
from tests.cli.test_fit import refused, run
from tests.commands import run_words
from tests.conftest import read_in_this_process
from tests.toys import toy_pairs

PAGE = (Path(__file__).parents[2] / "docs/losses.md").read_text()
BOTH = ("english", "multilingual")


@pytest.fixture(autouse=True)
def exports_are_read_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightning_embed.export.folder.read_in_new_process", read_in_this_process)


def put(file: Path, rows: list[dict[str, str]]) -> str:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


def documented(teacher: Path, student: Path, folder: Path) -> dict[str, Any]:
    """The job of the page, with toys for its models and data."""
    found = re.search(r"## Several teachers\n.*?```yaml\n(.*?)```", PAGE, flags=re.S)
    assert found
    job: dict[str, Any] = yaml.safe_load(found[1])
    model, data = job["model"]["init_args"], job["data"]["init_args"]
    model["student"] |= {"model": str(student), "dropout": 0.0}
    model["teacher"]["english"]["model"] = str(teacher)
    rows = toy_pairs(64)
    texts = sorted({text for row in rows for text in row.values()})
    vectors = np.random.default_rng(0).normal(size=(len(texts), 1024)).astype(np.float32)
    np.save(folder / "vectors.npy", vectors)
    (folder / "vectors.txt").write_text("\n".join(texts))
    import_vectors(folder / "vectors.npy", "voyage", folder / "store")
    for source, part in zip(data["train"], (rows[:32], rows[32:]), strict=True):
        source["path"] = put(folder / source["path"], part)
    alone = [{"text": row["anchor"]} for row in rows[:32]]
    data |= {"teacher_store": str(folder / "store"), "global_batch_size": 8, "num_workers": 0}
    data |= {"validation": put(folder / "alone.jsonl", alone), "test": put(folder / "test.jsonl", rows[:32])}
    run_folder = str(folder / "run")
    trainer = {"max_steps": 4, "log_every_n_steps": 1, "enable_progress_bar": False, "accelerator": "cpu"}
    return job | {"trainer": trainer | {"default_root_dir": run_folder}}


@pytest.fixture(scope="module")
def trained(teacher: Path, student: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("several")
    run(documented(teacher, student, folder), folder, "--checkpoint.monitor", "val/teacher_cosine_english")
    return folder / "run"


def test_the_job_of_the_page_trains_and_its_folder_has_all_by_name(trained: Path) -> None:
    logged = pandas.read_csv(trained / "csv/version_0/metrics.csv")
    cosines = [logged[f"val/teacher_cosine_{name}"].dropna().iloc[-1] for name in BOTH]
    assert logged["val/score"].dropna().iloc[-1] == pytest.approx(sum(cosines) / 2)
    assert {"train/near_english", "train/near_multilingual"} <= set(logged.columns)
    state = torch.load(trained / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
    parts = {f"projection.{name}.{part}" for name in BOTH for part in ("weight", "bias")}
    assert {key for key in state if key.startswith("projection.")} == parts
    assert all((trained / f"projection.{name}.safetensors").is_file() for name in BOTH)
    config = yaml.safe_load((trained / "config.yaml").read_text())["model"]["init_args"]
    assert list(config["teacher"]) == list(config["projection"]) == list(BOTH)


def test_the_report_has_each_teacher_and_the_student_in_its_space(trained: Path) -> None:
    report = json.loads((trained / "report.json").read_text())
    names = [model["name"] for model in report["models"]]
    assert names == ["teacher english", "teacher multilingual", "student before", "student after"]
    assert len(report["swaps"]) == 6 and report["teachers"] == list(BOTH)
    page = (trained / "report.md").read_text()
    for name in BOTH:
        assert f"teacher {name}'s nDCG@10" in page and f"## In the space of teacher {name}" in page
    assert "| of english | of multilingual |" in page and "`export --space teacher:english`" in page


def test_the_module_is_rebuilt_with_its_teachers_and_the_commands_take_the_checkpoint(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = trained / "checkpoints/last.ckpt"
    module = EmbeddingModule.load_from_checkpoint(checkpoint, map_location="cpu")
    assert tuple(module.teachers) == tuple(module.projections) == BOTH and module.teacher is None
    assert [module.terms[f"near_{name}"].teacher for name in BOTH] == list(BOTH)
    assert isinstance(teacher_of(checkpoint, name="multilingual"), StoredTeacher)
    test = str(trained.parent / "test.jsonl")
    run_words("validate", "--ckpt_path", str(checkpoint), "--data.validation", test, "--trainer.accelerator", "cpu")
    assert "val/ndcg@10" in capsys.readouterr().out


def test_export_takes_the_space_of_a_named_teacher(trained: Path, teacher: Path, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    checkpoint = trained / "checkpoints/last.ckpt"
    run_words("export", str(checkpoint), str(tmp_path / "out"), "--space", "teacher:english")
    module = EmbeddingModule.load_from_checkpoint(checkpoint, map_location="cpu").eval()
    with torch.no_grad():
        vectors = torch.as_tensor(module.student.encode(["w1 w2", "w3"], "document"))
        wanted = torch.nn.functional.normalize(module.projections["english"](vectors, vectors)[0], dim=-1)
    found = SentenceTransformer(str(tmp_path / "out"), device="cpu").encode_document(["w1 w2", "w3"])
    assert np.allclose(found, wanted.numpy(), atol=1e-5)
    card = (tmp_path / "out/README.md").read_text()
    assert (
        "- Teacher multilingual: `voyage`" in card
        and "near_english`: Distillation, weight 1.0, teacher english" in card
    )
    assert "How near to the teacher's own vectors, on " in card


@pytest.mark.parametrize(
    ("space", "what"),
    [
        ("teacher", "the run had several teachers (english, multilingual): say which, such as teacher:english"),
        ("teacher:french", "the run had several teachers (english, multilingual): there is no teacher 'french'"),
        ("teachers", "space: expected student, teacher or teacher:NAME, got 'teachers'"),
    ],
)
def test_export_names_the_teachers_that_there_are(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], space: str, what: str
) -> None:
    with pytest.raises(SystemExit):
        run_words("export", str(trained / "checkpoints/last.ckpt"), str(tmp_path / "out"), "--space", space)
    assert what in capsys.readouterr().err


def test_a_projection_of_several_is_named_by_its_file(trained: Path) -> None:
    from lightning_embed import Projection, UserError

    assert Projection(weights=str(trained / "projection.english.safetensors")).fit_to(32, 48) is None
    for given in (trained, trained / "checkpoints/last.ckpt"):
        with pytest.raises(UserError, match=r"several teachers \(english, multilingual\); .* projection\.english"):
            Projection(weights=str(given)).fit_to(32, 48)


def test_options_reach_into_a_named_teacher(teacher: Path, student: Path, tmp_path: Path) -> None:
    job = documented(teacher, student, tmp_path)
    job["trainer"]["max_steps"] = 1
    words = ["--model.teacher.english.max_length", "9", "--model.projection.english.start", "random"]
    run(job, tmp_path, "--report.enabled", "false", *words)
    config = yaml.safe_load((tmp_path / "run/config.yaml").read_text())["model"]["init_args"]
    assert config["teacher"]["english"]["init_args"]["max_length"] == 9
    starts = {name: one["init_args"]["start"] for name, one in config["projection"].items()}
    assert starts == {"english": "random", "multilingual": "fitted"}


def test_the_doctor_says_what_the_store_has_of_each(
    teacher: Path, student: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = documented(teacher, student, tmp_path)
    run(job, tmp_path, "--json", str(tmp_path / "found.json"), command="doctor")
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["store"] is None and found["stores"]["english"]["path"] is None
    assert [one["title"] for one in found["stores"]["multilingual"]["sources"][:2]] == ["pairs", "translations"]
    assert found["memory"]["teacher"] > 0
    out = capsys.readouterr().out
    assert "teacher store of english: it has nothing" in out and "teacher store of multilingual, " in out


def named(job: dict[str, Any], **changed: Any) -> dict[str, Any]:
    """A job whose teachers have other settings."""
    teacher = job["model"]["init_args"]["teacher"] | changed
    return job | {"model": job["model"] | {"init_args": job["model"]["init_args"] | {"teacher": teacher}}}


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        (
            {"english": {"modle": "x"}},
            "model.init_args.teacher.english.modle: there is no such setting; did you mean model?",
        ),
        ({"english": {"model": "x", "dim": "wide"}}, "model.init_args.teacher.english.dim: expected a whole number"),
        ({"english": "some/model"}, "teacher.english: expected its settings, such as {model: some/model}"),
        ({"english": {"dim": 3}}, "model.teacher.english: FrozenEncoder needs model, which is not given"),
        ({"english": {"class_path": "FrozenEncodr"}}, "did you mean FrozenEncoder?"),
    ],
)
def test_a_mistake_in_one_of_several_teachers_is_found_where_it_is(
    teacher: Path, student: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], changed: dict[str, Any], what: str
) -> None:
    job = named(documented(teacher, student, tmp_path), **changed)
    assert what in refused(job, tmp_path, capsys)


def test_the_settings_of_a_lone_teacher_are_not_taken_for_names(
    teacher: Path, student: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = documented(teacher, student, tmp_path)
    job["model"]["init_args"] |= {"teacher": {"modle": "x"}, "projection": {}, "losses": {"near": "Distillation"}}
    del job["data"]["init_args"]["train"][1]
    assert "model.init_args.teacher.modle: there is no such setting; did you mean model?" in refused(
        job, tmp_path, capsys
    )
    job["model"]["init_args"]["teacher"] = {"model": str(teacher), "prompts": {"query": "w1 "}}
    job["trainer"]["max_steps"] = 1
    run(job, tmp_path, "--report.enabled", "false")
    config = yaml.safe_load((tmp_path / "run/config.yaml").read_text())["model"]["init_args"]
    assert config["teacher"]["class_path"] == "lightning_embed.FrozenEncoder"
    assert config["projection"]["class_path"] == "lightning_embed.Projection"


def test_a_gate_of_the_teacher_needs_a_lone_one(
    teacher: Path, student: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = documented(teacher, student, tmp_path)
    line = refused(job, tmp_path, capsys, "--report.require", "{of_teacher: 0.5}")
    assert (
        "report.require.of_teacher: it compares with a single teacher, and there are several (english, multilingual)"
        in line
    )
