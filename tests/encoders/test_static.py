"""Static models: a table of tokens that starts from another model's vectors, trains as any student does and is exported as such."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from torch import nn

from lightning_embed import FrozenEncoder, StaticEncoder, TextEncoder, UserError
from lightning_embed.checkpoints.student import load_student
from lightning_embed.encoders.lora import Adapter
from lightning_embed.export.folder import export_encoder, export_proved
from tests.cli.test_fit import ROOT, config, losses, refused, run
from tests.commands import run_words
from tests.evaluation.test_evaluate import beir
from tests.export.new_process import in_new_process
from tests.toys import toy_folder

TEXTS = ["w1", "w2 w3 w4 w5 w6 w7 w8", "", "w9 w9 w10", "unheard w11"]


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.getbasetemp() / "token_vectors"
    monkeypatch.setattr("lightning_embed.encoders.static_encoder.user_cache", lambda: folder)
    return folder


@pytest.fixture
def job(teacher: Path, pairs: Path, tmp_path: Path) -> dict[str, Any]:
    """Distils the texts of pairs into a static student of 24 dims."""
    job = config(teacher, teacher, pairs, tmp_path / "run")
    student = {"class_path": "StaticEncoder", "init_args": {"model": str(teacher), "dim": 24}}
    job["model"]["init_args"] |= {"student": student}
    return job


def static_folder(folder: Path, length: int | None = None, dense: bool = False) -> Path:
    """A folder that sentence-transformers wrote."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Dense, Normalize, StaticEmbedding
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(toy_folder(folder / "plain") / "tokenizer.json"))
    tokenizer.enable_padding()
    if length is not None:
        tokenizer.enable_truncation(length)
    torch.manual_seed(4)
    layers: list[nn.Module] = [Normalize(), Dense(12, 20, True, nn.Tanh())] if dense else []
    made = SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_dim=12), *layers], device="cpu")
    made.save(str(folder / "st"))
    return folder / "st"


def by_sentence_transformers(folder: Path, texts: list[str] = TEXTS) -> torch.Tensor:
    from sentence_transformers import SentenceTransformer

    found = SentenceTransformer(str(folder), device="cpu").encode(texts, convert_to_tensor=True)
    return nn.functional.normalize(found.float(), dim=-1)


def test_each_token_starts_from_the_vector_that_the_model_gives_it_alone(teacher: Path) -> None:
    words = ["w1", "w7", "w190"]
    for sif in (None, 1e-2):
        table = StaticEncoder(str(teacher), sif=sif)
        torch.testing.assert_close(
            table.encode(words), TextEncoder(str(teacher)).eval().encode(words), rtol=0, atol=1e-5
        )
    lengths = table.backbone.embedding.weight.norm(dim=1) / StaticEncoder(str(teacher), sif=None)(
        table.tokenizer([" ".join(words)])[0]
    ).norm(dim=1)
    assert lengths[150:].mean() > 1.3 * lengths[:50].mean()  # later tokens are rarer, and count more


def test_dim_keeps_the_directions_in_which_the_models_vectors_vary_most(teacher: Path) -> None:
    def rows(dim: int | None) -> torch.Tensor:
        found: torch.Tensor = StaticEncoder(str(teacher), dim=dim, sif=None).backbone.embedding.weight.detach()
        return found

    whole, all_dims, few = rows(None), rows(48), rows(10)
    centred = whole - whole.mean(0)
    torch.testing.assert_close(all_dims @ all_dims.T, centred @ centred.T, rtol=0, atol=1e-4)
    torch.testing.assert_close(few, all_dims[:, :10])
    assert (all_dims.var(0).diff() <= 1e-6).all() and all_dims.mean(0).abs().max() < 1e-5


def test_the_model_is_run_once_for_all_dims(teacher: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = StaticEncoder(str(teacher), dim=24).backbone.embedding.weight
    monkeypatch.setattr(FrozenEncoder, "load", lambda self: pytest.fail("the model was loaded again"))
    torch.testing.assert_close(StaticEncoder(str(teacher), dim=24).backbone.embedding.weight, before)
    assert StaticEncoder(str(teacher), dim=12).dim == 12


@pytest.mark.parametrize(("length", "dense"), [(None, False), (3, False), (None, True)])
def test_sentence_transformers_own_folders_give_its_vectors_and_so_does_their_export(
    tmp_path: Path, length: int | None, dense: bool
) -> None:
    folder = static_folder(tmp_path, length, dense)
    wanted = by_sentence_transformers(folder)
    for encoder in (TextEncoder(str(folder)).eval(), FrozenEncoder(str(folder))):
        torch.testing.assert_close(encoder.encode(TEXTS), wanted, rtol=0, atol=1e-5)
        assert encoder.dim == (20 if dense else 12)
    assert not wanted[2].any() or dense  # no tokens: the zero vector
    export_encoder(TextEncoder(str(folder)), tmp_path / "again")
    torch.testing.assert_close(by_sentence_transformers(tmp_path / "again"), wanted, rtol=0, atol=1e-5)


def test_a_folder_of_older_versions_or_of_model2vec_is_read(tmp_path: Path) -> None:
    folder = static_folder(tmp_path)
    (folder / "0_StaticEmbedding").mkdir()
    for name in ("model.safetensors", "tokenizer.json"):
        (folder / name).rename(folder / "0_StaticEmbedding" / name)
    modules = [
        {"idx": 0, "name": "0", "path": "0_StaticEmbedding", "type": "sentence_transformers.models.StaticEmbedding"}
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    torch.testing.assert_close(TextEncoder(str(folder)).encode(TEXTS), by_sentence_transformers(folder))
    file = folder / "0_StaticEmbedding/model.safetensors"
    rows = load_file(file)["embedding.weight"]
    mapping, weights = torch.arange(len(rows)) // 2, torch.linspace(0.1, 1, len(rows), dtype=torch.float64)
    half = rows[: len(rows) // 2].half().contiguous()
    save_file({"embeddings": half, "mapping": mapping, "weights": weights}, file)
    assert FrozenEncoder(str(folder)).outline.config.vocab_size == len(rows)
    found = TextEncoder(str(folder)).encode(TEXTS)
    # spelled out, for sentence-transformers 6.0 passes over the mapping and the weights
    save_file({"embedding.weight": half.float()[mapping] * weights.float()[:, None]}, file)
    torch.testing.assert_close(found, by_sentence_transformers(folder), rtol=0, atol=1e-3)


def test_texts_without_tokens_have_the_zero_vector_and_a_finite_gradient(teacher: Path) -> None:
    encoder = StaticEncoder(str(teacher), max_tokens=4, checkpoint_chunks=True)
    assert encoder.encode(TEXTS).norm(dim=1).tolist() == pytest.approx([1, 1, 0, 1, 1])
    for texts in (TEXTS, [""], []):
        found = encoder(encoder.tokenizer(texts)[0])
        found.square().sum().backward()
        gradient = encoder.backbone.embedding.weight.grad
        assert found.shape == (len(texts), 48) and found.isfinite().all() and gradient.isfinite().all()


def test_a_batch_is_one_forward_whose_gradient_is_that_of_single_texts(teacher: Path) -> None:
    encoder, calls = StaticEncoder(str(teacher)), []
    encoder.backbone.register_forward_hook(lambda *_: calls.append(1))
    texts = [" ".join(f"w{i * j % 190}" for j in range(i)) for i in (30, 0, 3, 17, 1)]
    table, gradients = encoder.backbone.embedding.weight, []
    for parts in ([texts], [[text] for text in texts]):
        loss = sum(encoder(encoder.tokenizer(part)[0]).pow(3).sum() for part in parts)
        gradients.append(torch.autograd.grad(loss, table)[0])
    assert len(calls) == 1 + len(texts)
    torch.testing.assert_close(gradients[0], gradients[1])


def test_a_static_student_learns_its_teacher_and_its_export_in_the_teachers_space_is_read_by_everyone(
    job: dict[str, Any], teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job["model"]["init_args"]["projection"] = {"start": "random"}
    run(job, tmp_path, "--trainer.max_steps", "40", "--report.enabled", "false")
    found, last = losses(tmp_path / "run"), tmp_path / "run/checkpoints/last.ckpt"
    assert sum(found[-5:]) / 5 < 0.4 * found[0]
    trained, exported = load_student(last), tmp_path / "own"
    run_words("export", str(last), str(exported))
    modules = [m["type"].rpartition(".")[2] for m in json.loads((exported / "modules.json").read_text())]
    assert isinstance(trained, StaticEncoder) and modules == ["StaticEmbedding", "Normalize"]
    torch.testing.assert_close(by_sentence_transformers(exported), trained.encode(TEXTS), rtol=0, atol=1e-5)
    again = TextEncoder(str(exported)).eval()
    torch.testing.assert_close(again.encode(TEXTS), trained.encode(TEXTS), rtol=0, atol=1e-5)
    run_words("export", str(last), str(tmp_path / "out"), "--space", "teacher")
    assert "least cosine 1.000000" in capsys.readouterr().out
    assert TextEncoder(str(tmp_path / "out")).dim == 48
    run_words(
        "evaluate", f"large={teacher}", f"small={tmp_path / 'out'}", "small+large", "--tasks", str(beir(tmp_path / "task")),
        "--dims", "48", "--precisions", "float32", "--resamples", "100", "--output", str(tmp_path / "scores"),
    )  # fmt: skip
    assert "small+large" in (tmp_path / "scores/report.md").read_text()


@pytest.mark.slow
def test_an_export_is_equal_in_a_new_process(teacher: Path, tmp_path: Path) -> None:
    encoder = StaticEncoder(str(teacher), dim=24, prompts={"query": "w1 w2 "}, max_length=6).eval()
    texts = [" ".join(f"w{i * j}" for j in range(9)) for i in range(20)]
    with in_new_process():
        assert export_proved(encoder, tmp_path / "out", texts) > 0.999999


def test_all_kinds_of_losses_train_it_and_a_stopped_run_resumes_exactly(job: dict[str, Any], tmp_path: Path) -> None:
    matryoshka = {"class_path": "Matryoshka", "init_args": {"loss": "InfoNCE", "dims": [8, 24]}}
    job["model"]["init_args"]["losses"] |= {"nce": matryoshka, "gor": "GOR"}
    words = ("--report.enabled", "false", "--trainer.max_steps")
    run(job, tmp_path, *words, "6", "--trainer.default_root_dir", str(tmp_path / "whole"))
    run(job, tmp_path, *words, "3")
    run(job, tmp_path, *words, "6", "--ckpt_path", "last")
    assert losses(tmp_path / "run") == losses(tmp_path / "whole")
    states = [torch.load(tmp_path / f"{name}/checkpoints/last.ckpt")["state_dict"] for name in ("run", "whole")]
    assert all(torch.equal(states[0][name], value) for name, value in states[1].items())
    assert {name for name in states[0] if name.startswith("student.")} == {"student.backbone.embedding.weight"}


def test_checkpoints_are_averaged_and_doctor_takes_it(job: dict[str, Any], tmp_path: Path) -> None:
    callback = {"class_path": "AverageCheckpoints", "init_args": {"earlier": 0.5}}
    job["trainer"]["callbacks"] = [callback]
    run(job, tmp_path, "--report.enabled", "false")
    states = {
        name: torch.load(tmp_path / f"run/checkpoints/{name}.ckpt")["state_dict"]["student.backbone.embedding.weight"]
        for name in ("earlier", "last", "averaged")
    }
    torch.testing.assert_close(states["averaged"], (states["earlier"] + states["last"]) / 2)
    run(job, tmp_path, command="doctor")


def test_it_trains_on_from_an_exported_folder_and_teaches(teacher: Path, pairs: Path, tmp_path: Path) -> None:
    export_encoder(StaticEncoder(str(teacher), dim=24), tmp_path / "static")
    job = config(tmp_path / "static", tmp_path / "static", pairs, tmp_path / "run")
    run(job, tmp_path, "--report.enabled", "false")
    assert len(losses(tmp_path / "run")) == 4
    assert load_student(tmp_path / "run/checkpoints/last.ckpt").dim == 24


@pytest.mark.slow
def test_it_trains_alike_on_one_rank_and_whole_or_sharded_on_two(tmp_path: Path) -> None:
    from tests.fits import Fit, differences, result, run_fits, write_inputs

    write_inputs(tmp_path, ())
    export_encoder(StaticEncoder(str(tmp_path / "teacher"), dim=32), tmp_path / "modernbert")
    run_fits(tmp_path, [Fit("alone", family="modernbert", steps=4)], 1)
    fits = [Fit(name, name, "modernbert", steps=4) for name in ("ddp", "fsdp2")]
    run_fits(tmp_path, [*fits, Fit("chunked", "fsdp2", "modernbert", chunked=True, steps=4)], 2)
    for name in ("ddp", "fsdp2", "chunked"):
        assert max(differences(result(tmp_path, name), result(tmp_path, "alone"))) < 1e-4


def test_a_start_that_cannot_be_is_refused_in_one_line(
    job: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job["model"]["init_args"]["student"]["init_args"]["dim"] = 64
    assert "dim must be from 1 to 48, the entries of its vectors, got 64" in refused(job, tmp_path, capsys)
    job["model"]["init_args"]["student"]["init_args"] |= {"dim": 24, "sif": 0}
    assert "sif must be above 0" in refused(job, tmp_path, capsys)
    static = static_folder(tmp_path)
    with pytest.raises(UserError, match="it is static already; train it as student: "):
        StaticEncoder(str(static))


@pytest.mark.parametrize(
    "setting",
    [
        {"layers": [0]}, {"rope_theta": 1e4}, {"attention": "sdpa"}, {"dropout": 0.1}, {"packing": "on"}, {"pooling": "cls"},
        {"checkpoint_layers": True}, {"export_rope_theta": 1e4}, {"adapter": Adapter()},
    ],
)  # fmt: skip
def test_a_setting_of_layers_is_refused(tmp_path: Path, setting: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=f"{next(iter(setting))} was given, and a static model, .*; leave it out"):
        TextEncoder(str(static_folder(tmp_path)), **setting)


def broken(folder: Path, kind: str) -> None:
    """Spoils a static folder."""
    file = folder / "model.safetensors"
    if kind in ("tokenizer.json", "model.safetensors"):
        (folder / kind).unlink()
    elif kind == "another tokenizer":
        save_file({"embedding.weight": torch.zeros(100, 12)}, file)
    elif kind == "no table":
        save_file({"weight": torch.zeros(100)}, file)
    elif kind == "cut off":
        file.write_bytes(file.read_bytes()[:-100])
    else:
        dense = folder / "2_Dense/config.json"
        dense.write_text(json.dumps(json.loads(dense.read_text()) | {"in_features": 11}))


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("tokenizer.json", "tokenizer.json: its tokenizer could not be loaded"),
        ("model.safetensors", "the table of a static model was expected in .*model.safetensors"),
        ("another tokenizer", "its table has 100 rows and its tokenizer 204 tokens"),
        ("no table", r"must hold a matrix embedding.weight or embeddings, found weight \[100\]"),
        ("cut off", "model.safetensors could not be read"),
        ("dense", "in_features is 11, but .* gives vectors of 12"),
    ],
)
def test_a_folder_that_does_not_fit_together_is_refused_in_one_line(tmp_path: Path, kind: str, said: str) -> None:
    folder = static_folder(tmp_path, dense=True)
    broken(folder, kind)
    for kind_of_encoder in (TextEncoder, FrozenEncoder):
        with pytest.raises(UserError, match=said) as error:
            kind_of_encoder(str(folder))
        assert "\n" not in str(error.value)


def test_the_example_trains_on_texts_alone_into_its_teachers_space(teacher: Path, tmp_path: Path) -> None:
    job = yaml.safe_load((ROOT / "examples/static_queries.yaml").read_text())
    parts = job["model"]["init_args"]
    parts["teacher"]["model"] = parts["student"]["init_args"]["model"] = str(teacher)
    for part in (parts["teacher"], parts["student"]["init_args"]):
        part["max_length"] = 20
    (tmp_path / "texts.jsonl").write_text(
        "".join(json.dumps({"text": f"w{i} w{7 * i % 190}"}) + "\n" for i in range(190))
    )
    words = ("--data.train", str(tmp_path / "texts.jsonl"), "--trainer.default_root_dir", str(tmp_path / "run"))
    run(
        job, tmp_path, *words, "--data.global_batch_size", "32", "--trainer.max_steps", "5", "--report.enabled", "false"
    )
    run_words("export", str(tmp_path / "run/checkpoints/last.ckpt"), str(tmp_path / "out"), "--space", "teacher")
    assert "Its vectors are in the space of its teacher" in (tmp_path / "out/README.md").read_text()
