"""Exports of adapters: merged, by themselves, and several beside one base."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from lightning_embed.checkpoints.adapters import note_base
from lightning_embed.encoders.copies import merged
from lightning_embed.encoders.lora import Adapter
from lightning_embed.encoders.text_encoder import TextEncoder
from lightning_embed.errors import UserError
from tests.export.new_process import in_new_process
from tests.export.test_export import TEXTS, export, refused
from tests.toys import toy_folder

SETTINGS = {"pooling": "last_token", "prompts": {"query": "w1 w2 ", "document": "w3 "}, "max_length": 20}


def checkpoint(run: Path, base: Path, seed: int, **settings: Any) -> Path:
    """What a run leaves whose adapter has grown."""
    encoder = TextEncoder(str(base), adapter=Adapter(4, 8.0), **SETTINGS | settings)
    draw = torch.Generator().manual_seed(seed)
    for parameter in encoder.parameters():
        if parameter.requires_grad:
            parameter.data = torch.randn(parameter.shape, generator=draw) * 0.2
    state = {f"student.{name}": p for name, p in encoder.state_dict().items() if ".lora_" in name}
    saved: dict[str, Any] = {"state_dict": state}
    note_base(encoder, saved)
    file = run / "checkpoints/last.ckpt"
    file.parent.mkdir(parents=True)
    torch.save(saved, file)
    student = {"model": str(base), "adapter": {"rank": 4, "alpha": 8}, **SETTINGS, **settings}
    (run / "config.yaml").write_text(yaml.safe_dump({"model": {"init_args": {"student": student}}}))
    return file


def vectors(file: Path, role: str = "query") -> np.ndarray:
    from lightning_embed.checkpoints.student import load_student

    return load_student(file).encode(TEXTS, role).numpy()


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_folder(tmp_path_factory.mktemp("base") / "base", "qwen3")


@pytest.fixture(scope="module")
def first(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint(tmp_path_factory.mktemp("runs") / "retrieval", base, 1)


def test_merged_it_is_a_plain_model(
    first: Path, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from safetensors.torch import load_file

    folder = export(tmp_path, [first], tmp_path / "out")
    assert "least cosine 1.000000" in capsys.readouterr().out
    assert load_file(folder / "model.safetensors").keys() == load_file(base / "model.safetensors").keys()
    assert "by a LoRA adapter of rank 4" in (folder / "README.md").read_text()
    again = TextEncoder(str(folder)).eval()
    assert again.encode(TEXTS, "query").numpy() == pytest.approx(vectors(first), abs=1e-5)


def test_alone_it_is_a_peft_folder(first: Path, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from peft import PeftModel
    from transformers import AutoModel

    from lightning_embed.evaluation.models import load_model

    with in_new_process():
        folder = export(tmp_path, [first], tmp_path / "out", "--adapter", "true")
    assert "least cosine 1.000000" in capsys.readouterr().out
    assert [file.name for file in folder.rglob("*.safetensors")] == ["adapter_model.safetensors"]
    assert json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"] == str(base)
    encoder = TextEncoder(str(base), **SETTINGS).eval()
    encoder.backbone = PeftModel.from_pretrained(AutoModel.from_pretrained(base), str(folder)).merge_and_unload().eval()
    assert encoder.encode(TEXTS, "query").numpy() == pytest.approx(vectors(first), abs=1e-5)
    for spec in (folder, first):
        model = load_model(str(spec), "cpu")
        assert model.embed(TEXTS, "query", None) == pytest.approx(vectors(first), abs=1e-5)


def test_several_share_the_base_and_the_reader_picks(
    first: Path, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from lightning_embed.evaluation.models import load_model

    second = checkpoint(tmp_path / "clustering", base, 2)
    folder = export(tmp_path, [first, f"topics={second}"], tmp_path / "out")
    assert "each of the adapters retrieval, topics" in capsys.readouterr().out
    size = (base / "model.safetensors").stat().st_size
    weights = sorted(str(file.relative_to(folder)) for file in folder.rglob("*.safetensors"))
    names = [f"adapters/{task}/adapter_model.safetensors" for task in ("retrieval", "topics")]
    assert weights == [*names, "model.safetensors"]
    assert (folder / "model.safetensors").stat().st_size < 1.1 * size
    card = (folder / "README.md").read_text()
    assert 'model.load_adapter("out/adapters/retrieval", adapter_name="retrieval")' in card and "set_adapter" in card
    for task, file in (("retrieval", first), ("topics", second)):
        model = load_model(str(folder / "adapters" / task), "cpu")
        assert model.embed(TEXTS, "query", None) == pytest.approx(vectors(file), abs=1e-5)
        named = json.loads((folder / "adapters" / task / "adapter_config.json").read_text())
        assert named["base_model_name_or_path"] == "out"
    plain = TextEncoder(str(base), **SETTINGS).eval().encode(TEXTS, "document").numpy()
    assert load_model(str(folder), "cpu").embed(TEXTS, "document", None) == pytest.approx(plain, abs=1e-5)


def test_what_cannot_be_is_refused_in_one_line(
    first: Path, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    other = checkpoint(tmp_path / "other", toy_folder(tmp_path / "base", "qwen3", seed=9), 1)
    assert "its base is" in refused(tmp_path, capsys, [first, other], out)
    longer = checkpoint(tmp_path / "longer", base, 1, max_length=30)
    assert "its max_length is 30, and that of 'retrieval' 20" in refused(tmp_path, capsys, [first, longer], out)
    assert "each task once" in refused(tmp_path, capsys, [first, f"retrieval={first}"], out)
    assert "the student has none" in refused(tmp_path, capsys, [base], out, "--adapter", "true")
    some = checkpoint(tmp_path / "some", base, 1, layers=[1])
    assert "export the merged model" in refused(tmp_path, capsys, [some], out, "--adapter", "true")
    (tmp_path / "base/model.safetensors").write_bytes((base / "model.safetensors").read_bytes())
    assert "an adapter for" in refused(tmp_path, capsys, [other], out) and not out.exists()


def test_what_is_merged_is_no_longer_adapted(first: Path) -> None:
    from lightning_embed.checkpoints.student import load_student

    encoder = load_student(first)
    assert merged(encoder).adapter is None and encoder.adapter is not None


def test_adapters_of_some_layers_name_the_base_that_lies_beside_them(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from peft import AutoPeftModelForFeatureExtraction

    tasks = [f"t{seed}={checkpoint(tmp_path / str(seed), base, seed, layers=[1])}" for seed in (1, 2)]
    folder = export(tmp_path, tasks, tmp_path / "out")
    monkeypatch.chdir(tmp_path)
    encoder = load_student_of(tmp_path / "2")
    backbone = AutoPeftModelForFeatureExtraction.from_pretrained("out/adapters/t2").merge_and_unload()
    for name, value in merged(encoder).backbone.state_dict().items():
        assert torch.allclose(backbone.state_dict()[name], value, atol=1e-6)
    assert str(tmp_path) not in "".join(file.read_text() for file in [*folder.rglob("*.json"), folder / "README.md"])


def load_student_of(run: Path) -> TextEncoder:
    from lightning_embed.checkpoints.student import load_student

    return load_student(run / "checkpoints/last.ckpt")


def test_an_adapter_is_not_scored_on_another_base(first: Path, base: Path, tmp_path: Path) -> None:
    from lightning_embed.evaluation.models import load_model

    folder = export(tmp_path, [first], tmp_path / "out", "--adapter", "true")
    config = folder / "adapter_config.json"
    other = toy_folder(tmp_path / "other", "qwen3", seed=9)
    config.write_text(json.dumps(json.loads(config.read_text()) | {"base_model_name_or_path": str(other)}))
    with pytest.raises(UserError, match=r"was trained on other weights \([0-9a-f]{8}\) than those of .*other"):
        load_model(str(folder), "cpu")


def test_an_adapter_names_the_base_that_it_is_published_with_and_says_what_it_is(
    first: Path, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    local = export(tmp_path, [first], tmp_path / "local", "--adapter", "true")
    assert "before you publish the adapter, export it with --base" in capsys.readouterr().err
    assert "base_model:" not in (local / "README.md").read_text()
    folder = export(tmp_path, [first], tmp_path / "out", "--adapter", "true", "--base", "me/base")
    assert "least cosine 1.000000" in (said := capsys.readouterr()).out and "--base" not in said.err
    assert json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"] == "me/base"
    card = (folder / "README.md").read_text()
    assert "library_name: peft" in card and "base_model: me/base\nbase_model_relation: adapter" in card
    assert "A LoRA adapter of rank 4 on `me/base`, without which it is not a model." in card
    assert str(base.parent) not in "".join(file.read_text() for file in [*folder.rglob("*.json"), folder / "README.md"])
    assert "it names the base of exported adapters" in refused(
        tmp_path, capsys, [first], tmp_path / "m", "--base", "a/b"
    )
