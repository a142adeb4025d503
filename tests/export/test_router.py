"""`export --documents`: a folder whose queries the student embeds, and whose documents its teacher."""

import json
from pathlib import Path

import pytest
import torch

from lightning_embed import TextEncoder, UserError
from lightning_embed.checkpoints.student import load_student
from lightning_embed.export.folder import export_encoder
from lightning_embed.export.router import Asymmetric
from lightning_embed.export.students import Student
from tests.evaluation.test_evaluate import beir, cells, evaluate
from tests.evaluation.test_evaluate import refused as evaluate_refused
from tests.export.test_teacher_space import TEXTS, export, exports_are_read_here, refused, trained

__all__ = ["exports_are_read_here", "trained"]


@pytest.fixture(scope="module")
def routed(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(trained, tmp_path_factory.mktemp("r") / "out", "--space", "teacher", "--documents", "teacher")


def test_the_student_embeds_queries_and_the_teacher_documents(routed: Path, trained: Path, teacher: Path) -> None:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(routed), device="cpu")
    state = torch.load(trained, weights_only=True)["state_dict"]
    mapped = load_student(trained).encode(TEXTS, "query") @ state["projection.weight"].T + state["projection.bias"]
    queries = torch.nn.functional.normalize(mapped, dim=-1).numpy()
    documents = TextEncoder(str(teacher)).eval().encode(TEXTS, "document").numpy()
    assert model.encode_query(TEXTS) == pytest.approx(queries, abs=1e-5)
    assert model.encode_document(TEXTS) == pytest.approx(documents, abs=1e-5)
    card = (routed / "README.md").read_text()
    assert f"documents by `{teacher.name}`" in card and "that the run held out: mean cosine" in card


def test_evaluate_reads_it_as_the_pair_that_it_is(routed: Path, trained: Path, teacher: Path, tmp_path: Path) -> None:
    student = export(trained, tmp_path / "s", "--space", "teacher")
    words = ("--tasks", beir(tmp_path / "beir"), "--dims", 16, "--precisions", "float32", "int8")
    report = evaluate(tmp_path, f"T={teacher}", f"S={student}", "S+T", f"R={routed}", *words)
    assert cells(report, 2).keys() == cells(report, 3).keys()
    for cell, scores in cells(report, 2).items():
        assert cells(report, 3)[cell]["beir"] == pytest.approx(scores["beir"], abs=1e-3)


def test_fewer_dims_are_the_first_of_both(trained: Path, teacher: Path, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    folder = export(trained, tmp_path / "out", "--space", "teacher", "--documents", str(teacher), "--dim", "16")
    found = SentenceTransformer(str(folder), device="cpu").encode_document(TEXTS)
    wanted = torch.nn.functional.normalize(TextEncoder(str(teacher)).eval().encode(TEXTS)[:, :16], dim=-1)
    assert found == pytest.approx(wanted.numpy(), abs=1e-5)


def test_models_that_do_not_fit_are_refused_in_one_line(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(capsys, trained, tmp_path / "out", "--documents", "teacher")
    assert "the student gives vectors of 32 dims and" in said and "of 48" in said and "give --space teacher" in said
    said = refused(capsys, trained, tmp_path / "out", "--space", "teacher", "--documents", "teacher", "--dim", "64")
    assert "give 1 to 48, got 64" in said
    assert "a folder of two models has no graph" in refused(
        capsys, trained, tmp_path / "out", "--documents", "teacher", "--onnx", "true"
    )
    assert not (tmp_path / "out").exists()


def test_a_router_with_one_route_is_refused_in_one_line(
    routed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import shutil

    shutil.copytree(routed, tmp_path / "one")
    file = tmp_path / "one/router_config.json"
    config = json.loads(file.read_text())
    del config["structure"]["document"]
    config["parameters"]["default_route"] = "query"
    file.write_text(json.dumps(config))
    said = evaluate_refused(tmp_path, capsys, tmp_path / "one", "--tasks", beir(tmp_path / "beir"))
    assert "its Router has only the route query; queries and documents need one each" in said
    with pytest.raises(UserError, match="a sentence-transformers Router of several models"):
        TextEncoder(str(routed))


def test_a_router_of_two_sizes_is_refused_in_one_line(
    student: Path, teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Router

    routes = [list(SentenceTransformer(str(model), device="cpu").children()) for model in (student, teacher)]
    SentenceTransformer(modules=[Router.for_query_document(*routes)], device="cpu").save(str(tmp_path / "two"))
    said = evaluate_refused(tmp_path, capsys, tmp_path / "two", "--tasks", beir(tmp_path / "beir"))
    assert "its Router gives queries 32 dims and documents 48" in said


def test_the_documents_model_keeps_all_its_prompts(tmp_path: Path, student: Path) -> None:
    from sentence_transformers import SentenceTransformer

    queries = TextEncoder(str(student), prompts={"query": "w1 ", "document": "w2 "}).eval()
    documents = TextEncoder(str(student), prompts={"query": "w3 ", "document": "w4 ", "topic": "w5 "}).eval()
    made = Asymmetric(Student(queries), None, "student", str(_saved(documents, tmp_path)))
    made.write(tmp_path / "out")
    assert made.prove(tmp_path / "out", TEXTS).least > 0.9999
    model = SentenceTransformer(str(tmp_path / "out"), device="cpu")
    assert (model.prompts["query"], model.prompts["document"], model.prompts["topic"]) == ("w1 ", "w4 ", "w5 ")
    found = model.encode(TEXTS, prompt_name="topic")
    assert found == pytest.approx(documents.encode(TEXTS, "topic").numpy(), abs=1e-5)


def _saved(encoder: TextEncoder, tmp_path: Path) -> Path:
    export_encoder(encoder, tmp_path / "documents")
    return tmp_path / "documents"
