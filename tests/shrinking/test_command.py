import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from lightning_embed.encoders import TextEncoder
from tests.commands import run_words
from tests.toys import WORDS, toy_folder

USED = WORDS[:44]


@pytest.fixture
def texts(tmp_path: Path) -> str:
    """Forty pairs of 44 of the toy's words."""
    file = tmp_path / "texts.jsonl"
    rows = [{"anchor": " ".join(USED[i : i + 5]), "positive": " ".join(USED[40 - i : 44 - i])} for i in range(40)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


def test_every_cut_is_in_the_folder_that_is_written(
    texts: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, out = toy_folder(tmp_path / "toy", layers=4), tmp_path / "small"
    cuts = ("--layers", "2", "--intermediate", "24", "--vocabulary", "used")
    run_words("shrink", str(model), str(out), "--texts", texts, *cuts)
    config, weights = json.loads((out / "config.json").read_text()), load_file(out / "model.safetensors")
    assert (config["num_hidden_layers"], config["intermediate_size"], config["vocab_size"]) == (2, 24, 4 + 44)
    assert weights["embeddings.word_embeddings.weight"].shape == (48, 32)
    assert weights["encoder.layer.1.output.dense.weight"].shape == (32, 24)
    printed = capsys.readouterr().out
    for part in (
        "the whole model",
        "layers evenly spaced",
        "layers chosen",
        "and neurons",
        "and tokens",
        "48 of 204 tokens",
    ):
        assert part in printed
    assert "| layers chosen |" in (out / "README.md").read_text()


def test_without_layers_that_do_nothing_the_vectors_are_the_same(texts: str, tmp_path: Path) -> None:
    model = toy_folder(tmp_path / "toy", "qwen3", layers=4)
    whole = TextEncoder(str(model))
    for layer in (whole.backbone.layers[0], whole.backbone.layers[2]):
        for linear in (layer.self_attn.o_proj, layer.mlp.down_proj):
            linear.weight.data.zero_()
    whole.backbone.save_pretrained(model)
    run_words("shrink", str(model), str(tmp_path / "small"), "--texts", texts, "--layers", "2")
    small = TextEncoder(str(tmp_path / "small"))
    torch.testing.assert_close(small.eval().encode(["w1 w2 w3"]), whole.eval().encode(["w1 w2 w3"]))


def test_the_best_that_fits_is_no_larger_than_asked_for(
    texts: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, out = toy_folder(tmp_path / "toy", layers=6, hidden=64), tmp_path / "small"
    run_words("shrink", str(model), str(out), "--texts", texts, "--max_mb", "0.5")
    assert "fits best" in capsys.readouterr().out
    assert sum((out / name).stat().st_size for name in ("model.safetensors", "tokenizer.json")) < 0.55e6
    assert 0 < TextEncoder(str(out)).config.num_hidden_layers < 6


def test_a_student_starts_from_the_folder(texts: str, tmp_path: Path) -> None:
    model = toy_folder(tmp_path / "toy", layers=3)
    run_words("shrink", str(model), str(tmp_path / "small"), "--texts", texts, "--layers", "1")
    job = {
        "teacher": {"model": str(model)},
        "student": {"model": str(tmp_path / "small")},
        "losses": {"d": "Distillation"},
    }
    settings = {"model": {"class_path": "EmbeddingModule", "init_args": job}}
    settings |= {"data": {"class_path": "EmbeddingDataModule", "init_args": {"train": texts, "global_batch_size": 4}}}
    file = tmp_path / "job.yaml"
    file.write_text(json.dumps(settings))
    steps = (
        "--trainer.max_steps",
        "2",
        "--trainer.accelerator",
        "cpu",
        "--trainer.default_root_dir",
        str(tmp_path / "run"),
    )
    run_words("fit", "--config", str(file), *steps)
    assert list((tmp_path / "run").rglob("last.ckpt"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "nothing to cut: give --layers, --intermediate, --vocabulary used or --max_mb"),
        (("--layers", "5"), "layers: model '{model}' has 4, got 5"),
        (("--intermediate", "65"), "intermediate: model '{model}' has 64 in each layer, got 65"),
        (("--max_mb", "0.001"), "max_mb: the smallest model that can be made takes"),
        (("--layers", "4", "--max_mb", "0.01"), "max_mb: the smallest model that fits these settings takes"),
        (("--vocabulary", "some"), "vocabulary: expected one of all, used, null, got some"),
        (("--layers", "2", "--sample", "1"), "sample must be at least 2, got 1"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(
    words: tuple[str, ...], message: str, texts: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = toy_folder(tmp_path / "toy", layers=4)
    with pytest.raises(SystemExit) as stop:
        run_words("shrink", str(model), str(tmp_path / "small"), "--texts", texts, *words)
    assert stop.value.code == 2
    assert message.format(model=model) in capsys.readouterr().err
    assert not (tmp_path / "small").exists()


def test_a_folder_with_something_else_is_left_alone(
    texts: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = toy_folder(tmp_path / "toy", layers=4)
    with pytest.raises(SystemExit):
        run_words("shrink", str(model), str(model), "--texts", texts, "--layers", "2")
    assert "holds something else than a model; give another folder" in capsys.readouterr().err
    assert TextEncoder(str(model)).config.num_hidden_layers == 4
