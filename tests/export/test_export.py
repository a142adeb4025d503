"""`python -m lightning_embed export`: the folder that others read."""

import contextlib
import io
import json
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lightning_embed import TextEncoder, UserError
from lightning_embed.encoders.pretrained import TASK_TYPES
from tests.cli.test_fit import config, run
from tests.export.new_process import in_new_process

TEXTS = [" ".join(f"w{(i * j) % 190}" for j in range(1, 2 + i % 12)) for i in range(24)]


@pytest.fixture(scope="module")
def trained(teacher: Path, student: Path, pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a run whose student has prompts."""
    folder = tmp_path_factory.mktemp("trained")
    job = config(teacher, student, pairs, folder / "run")
    job["model"]["init_args"]["student"] |= {"prompts": {"query": "w1 w2 ", "document": "w3 "}, "max_length": 20}
    run(job, folder, "--report.dims", "[16, 32]")
    return folder / "run/checkpoints/last.ckpt"


@pytest.fixture(scope="module")
def exported(trained: Path) -> tuple[Path, str]:
    """Its export, and what the command said."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), in_new_process():
        folder = export(trained.parent, trained, trained.parent / "out")
    return folder, said.getvalue()


def texts_file(tmp_path: Path) -> Path:
    file = tmp_path / "texts.txt"
    file.write_text("\n".join(TEXTS))
    return file


def export(tmp_path: Path, *arguments: object) -> Path:
    from lightning_embed.__main__ import main

    checkpoints, *others = arguments
    listed = checkpoints if isinstance(checkpoints, list) else [checkpoints]
    main(["export", *map(str, [*listed, *others]), "--texts", str(texts_file(tmp_path))])
    return Path(str(arguments[1]))


def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    with pytest.raises(SystemExit) as stop:
        export(tmp_path, *arguments)
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert stop.value.code == 2 and len(errors) == 1
    return errors[0]


def expected(checkpoint: Path, role: str) -> np.ndarray:
    from lightning_embed.checkpoints.student import load_student

    return load_student(checkpoint).encode(TEXTS, role).numpy()


def test_sentence_transformers_transformers_and_mteb_read_the_folder(trained: Path, exported: tuple[Path, str]) -> None:
    folder, said = exported
    assert "least cosine 1.000000" in said
    query, document = expected(trained, "query"), expected(trained, "document")
    assert np.abs(query - document).max() > 1e-3

    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu")
    kinds = [module["type"].rpartition(".")[2] for module in json.loads((folder / "modules.json").read_text())]
    assert kinds == ["Transformer", "Pooling", "Normalize"]
    assert model.prompts == {"query": "w1 w2 ", "document": "w3 "} | dict.fromkeys(TASK_TYPES, "w3 ")
    assert model.similarity_fn_name == "cosine"
    assert model.encode_query(TEXTS) == pytest.approx(query, abs=1e-5)

    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokens = tokenizer(["w3 " + t for t in TEXTS], padding=True, truncation=True, max_length=20, return_tensors="pt")
    with torch.no_grad():
        hidden = AutoModel.from_pretrained(folder).eval()(**tokens).last_hidden_state
    mask = tokens["attention_mask"][..., None]
    mean = torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1)
    assert mean.numpy() == pytest.approx(document, abs=1e-5)

    from mteb.abstasks.task_metadata import TaskMetadata
    from mteb.models.sentence_transformer_wrapper import SentenceTransformerEncoderWrapper
    from mteb.types import PromptType

    task = TaskMetadata(
        name="none", description="", type="Retrieval", category="t2t", main_score="ndcg_at_10",
        eval_langs=["eng-Latn"], dataset={"path": "none", "revision": "0"},
    )  # fmt: skip
    loader: Any = torch.utils.data.DataLoader(_Texts(), batch_size=8)
    wrapped: Any = SentenceTransformerEncoderWrapper(str(folder), device="cpu")
    found = wrapped.encode(loader, task_metadata=task, hf_split="", hf_subset="", prompt_type=PromptType.query)
    assert np.array(found) == pytest.approx(query, abs=1e-5)


class _Texts:
    """A data set as mteb's wrapper expects it."""

    features = ("text",)

    def __len__(self) -> int:
        return len(TEXTS)

    def __getitem__(self, row: int) -> dict[str, str]:
        return {"text": TEXTS[row]}


def test_the_card_tells_the_run_and_leaves_the_licence(trained: Path, exported: tuple[Path, str]) -> None:
    card = (exported[0] / "README.md").read_text()
    front = card.split("---")[1]
    assert "library_name: sentence-transformers" in front and "\nlicense:" not in front
    for said in (
        "Loss `distill`: Distillation, weight 1.0",
        "pairs.jsonl",
        "4 steps of 16 rows",
        "## Scores",
        "least cosine",
    ):
        assert said in card
    report = json.loads((trained.parents[1] / "report.json").read_text())
    score = 100 * report["models"][-1]["grid"][0]["scores"]["ndcg@10"]
    assert f"| {score:.1f} |" in card and "nDCG@10" in card and "ndcg@10" not in card


def test_fewer_dims_are_truncation(trained: Path, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    folder = export(tmp_path, trained, tmp_path / "out", "--dim", 8)
    model = SentenceTransformer(str(folder), device="cpu")
    short = expected(trained, "query")[:, :8]
    assert model.encode_query(TEXTS) == pytest.approx(short / np.linalg.norm(short, axis=1, keepdims=True), abs=1e-5)
    assert TextEncoder(str(folder)).dim == 8
    assert TextEncoder(str(folder)).encode(TEXTS, "query").numpy() == pytest.approx(model.encode_query(TEXTS), abs=1e-5)


def test_vectors_of_another_length_are_no_proof(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lightning_embed.export import folder as exporting

    unit = {"query": np.eye(3, 8)}
    monkeypatch.setattr(exporting.subprocess, "run", lambda words, **_: _wrote(words, query=0.8 * unit["query"]))
    with in_new_process(), pytest.raises(UserError, match=r"lengths of 0\.8000 to 0\.8000, and the encoder's have 1"):
        exporting.verify_folder(tmp_path, ["a", "b", "c"], unit)


def _wrote(words: list[str], **vectors: np.ndarray) -> Any:
    """What a process leaves that has loaded a model."""
    np.savez(words[4], **vectors)
    return subprocess.CompletedProcess(words, 0)


def test_an_export_that_differs_is_an_error_and_leaves_nothing(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from lightning_embed.export import kinds

    wrong = {"query": np.ones((len(TEXTS), 32)) / 32**0.5}
    monkeypatch.setattr(kinds, "expected_vectors", lambda encoder, texts: wrong)
    said = refused(tmp_path, capsys, trained, tmp_path / "new/out")
    assert (
        "the exported model's vectors differ" in said and "nothing was left behind" in said and ".partial" not in said
    )
    assert list((tmp_path / "new").iterdir()) == []


def test_bad_input_is_named_in_one_line(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert "neither a checkpoint nor a model's folder" in refused(tmp_path, capsys, tmp_path / "none.ckpt", out)
    assert "give 1 to 32, got 64" in refused(tmp_path, capsys, trained, out, "--dim", 64)
    lonely = tmp_path / "alone/x.ckpt"
    lonely.parent.mkdir()
    anonymous = torch.load(trained, weights_only=True)
    del anonymous["lightning_embed"]  # as earlier versions wrote it, without the settings of its student
    torch.save(anonymous, lonely)
    assert "the run's config.yaml was expected in" in refused(tmp_path, capsys, lonely, out)
    out.mkdir()
    (out / "thesis.tex").write_text("mine")
    assert "holds something else than a model" in refused(tmp_path, capsys, trained, out)
    assert (out / "thesis.tex").read_text() == "mine"
    (out / "modules.json").write_text("[]")
    assert "--overwrite true" in refused(tmp_path, capsys, trained, out)


def test_pickled_code_in_a_checkpoint_is_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"state_dict": {"student.x": torch.zeros(1)}, "code": _Texts()}, tmp_path / "evil.ckpt")
    (tmp_path / "config.yaml").write_text("{}")
    assert "not a checkpoint that can be read" in refused(tmp_path, capsys, tmp_path / "evil.ckpt", tmp_path / "out")


@pytest.mark.skipif(find_spec("onnxruntime") is not None, reason="onnxruntime is installed")
def test_onnx_without_its_packages_says_what_to_install(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(tmp_path, capsys, trained, tmp_path / "out", "--onnx", "true")
    assert "pip install onnx onnxscript onnxruntime" in said and not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.skipif(find_spec("onnxruntime") is None or find_spec("onnxscript") is None, reason="needs onnx's packages")
def test_onnx_graphs_give_the_vectors(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import onnxruntime

    folder = export(tmp_path, trained, tmp_path / "out", "--onnx", "true", "--dim", "8")
    assert sorted(file.name for file in (folder / "onnx").iterdir()) == ["model.onnx", "model_quantized.onnx"]
    said = capsys.readouterr().out
    assert "onnx/model.onnx, run by onnxruntime in a new process: least cosine 1.0" in said
    assert "Read the graphs' sentence_embedding, of 8 dims" in said and "gives 32 dims" in said
    session = onnxruntime.InferenceSession(folder / "onnx/model.onnx", providers=["CPUExecutionProvider"])
    ids = np.array([[2, 9, 8, 3], [2, 7, 3, 0]])
    hidden, vectors = session.run(None, {"input_ids": ids, "attention_mask": (ids > 0).astype(np.int64)})
    assert [one.name for one in session.get_outputs()] == ["last_hidden_state", "sentence_embedding"]
    with torch.no_grad():
        tensors = {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(ids > 0).long()}
        wanted = TextEncoder(str(folder)).eval().backbone(**tensors).last_hidden_state.numpy()
    assert hidden[ids > 0] == pytest.approx(wanted[ids > 0], abs=1e-5)
    mean = np.stack([hidden[0].mean(0), hidden[1][:3].mean(0)])[:, :8]
    assert vectors == pytest.approx(mean / np.linalg.norm(mean, axis=1, keepdims=True), abs=1e-5)


def test_an_older_export_stays_whole_where_the_new_one_differs(
    exported: tuple[Path, str],
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from lightning_embed.checkpoints.student import load_student
    from lightning_embed.export import folder as exporting
    from lightning_embed.export import kinds
    from lightning_embed.export.of_run import export_run

    model = shutil.copytree(exported[0], tmp_path / "model")
    before = contents(model)
    wrong = {"query": np.ones((len(TEXTS), 32)) / 32**0.5}
    for module in (kinds, exporting):
        monkeypatch.setattr(module, "expected_vectors", lambda encoder, texts: wrong)
    refused(tmp_path, capsys, trained, model, "--overwrite", "true")
    assert contents(model) == before
    found = export_run(load_student(trained), {}, tmp_path, TEXTS)
    assert found.folder == "" and found.failed.endswith("model/ is as an earlier export left it")
    assert contents(model) == before and [path.name for path in tmp_path.glob(".*")] == []


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
