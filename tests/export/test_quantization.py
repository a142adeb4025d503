"""quantization.json of an exported folder, and `lightning_embed.quantize`, which reads it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from sentence_transformers.util.quantization import quantize_embeddings

from lightning_embed import TextEncoder, UserError, quantize
from lightning_embed.export.ranges import FILE, read_ranges, write_ranges
from tests.cli.test_fit import config, run
from tests.commands import run_words
from tests.export.test_adapter_export import checkpoint as adapter_checkpoint
from tests.export.test_teacher_space import changed, exports_are_read_here
from tests.toys import toy_folder

__all__ = ["exports_are_read_here"]

PROMPT = "w3 "


@pytest.fixture(scope="module")
def trained(teacher: Path, student: Path, pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of a student of 32 dims with a document prompt, whose losses train 8 and 20 of them, as bits too."""
    folder = tmp_path_factory.mktemp("trained")
    job = config(teacher, student, pairs, folder / "run")
    job["model"]["init_args"]["student"] |= {"prompts": {"query": "w1 w2 ", "document": PROMPT}, "max_length": 20}
    bits = {"class_path": "Quantized", "init_args": {"loss": {"class_path": "InfoNCE"}, "precision": "binary"}}
    nested = {"class_path": "Matryoshka", "init_args": {"loss": bits, "dims": [8, 20]}}
    job["model"]["init_args"]["losses"]["nested"] = {"loss": nested}
    run(job, folder, "--report.dims", "[16, 32]")
    return folder / "run"


def last(run: Path) -> Path:
    return run / "checkpoints/last.ckpt"


def content(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / FILE).read_text())
    return found


def by_hand(encoder: TextEncoder, texts: list[str], dim: int) -> tuple[list[float], list[float]]:
    """The least and the greatest of each dim of the texts' vectors as documents."""
    vectors = encoder.eval().encode(texts, "document")[:, :dim]
    rows = (vectors / vectors.norm(dim=1, keepdim=True)).tolist()
    return [min(row[d] for row in rows) for d in range(dim)], [max(row[d] for row in rows) for d in range(dim)]


def positives(pairs: Path) -> list[str]:
    return list(dict.fromkeys(json.loads(line)["positive"] for line in pairs.read_text().splitlines()))


def test_fit_leaves_the_ranges_of_the_runs_documents_at_each_of_its_sizes(trained: Path, pairs: Path) -> None:
    found, texts = content(trained / "model"), positives(pairs)
    assert found["dim"] == 32 and found["texts"] == len(texts) and list(found["ranges"]) == ["32", "20", "16", "8"]
    encoder = TextEncoder(str(trained / "model"))
    for size, one in found["ranges"].items():
        low, high = by_hand(encoder, texts, int(size))
        assert one["min"] == pytest.approx(low, abs=2e-6) and one["max"] == pytest.approx(high, abs=2e-6)
        assert all(float(f"{value:.6g}") == value for value in one["min"] + one["max"])
    assert f"at 32, 20, 16, 8 dims, from {len(texts)} documents" in (trained / "report.md").read_text()


def test_export_writes_the_same_ranges_and_the_card_names_them(trained: Path, tmp_path: Path) -> None:
    run_words("export", str(last(trained)), str(tmp_path / "out"))
    assert content(tmp_path / "out") == content(trained / "model")
    assert "`quantization.json` has the int8 range of each dim" in (tmp_path / "out/README.md").read_text()


def test_a_shorter_export_has_the_ranges_of_its_own_vectors(trained: Path, pairs: Path, tmp_path: Path) -> None:
    run_words("export", str(last(trained)), str(tmp_path / "out"), "--dim", "20")
    found, whole = content(tmp_path / "out"), content(trained / "model")
    assert found["dim"] == 20 and list(found["ranges"]) == ["20", "16", "8"]
    for size, one in found["ranges"].items():
        assert one["min"] == pytest.approx(whole["ranges"][size]["min"], abs=2e-6)


def test_without_the_runs_data_the_card_says_so_or_the_given_texts_count(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def moved(_: Any, settings: Any) -> None:
        for split in ("train", "validation", "test"):
            settings["data"]["init_args"][split] = [{"path": "gone.jsonl"}]

    checkpoint = changed(last(trained), tmp_path / "run", moved)
    run_words("export", str(checkpoint), str(tmp_path / "none"))
    assert not (tmp_path / "none" / FILE).exists()
    assert "note: no quantization.json, so no int8 ranges: source 'gone': there is no file" in capsys.readouterr().err
    card = (tmp_path / "none/README.md").read_text()
    assert "It has no `quantization.json`: there were no documents" in card and "gone.jsonl (" not in card
    texts = [f"w{i} w{i + 1}" for i in range(300)]
    (tmp_path / "texts.txt").write_text("\n".join(texts))
    for source in (checkpoint, trained / "model"):  # a model's folder names no data
        out = tmp_path / f"given{source.suffix}"
        run_words("export", str(source), str(out), "--texts", str(tmp_path / "texts.txt"))
        assert content(out)["texts"] == 300
        low, _ = by_hand(TextEncoder(str(out)), texts, 32)
        assert content(out)["ranges"]["32"]["min"] == pytest.approx(low, abs=2e-6)


def test_data_that_is_a_class_of_the_users_leaves_a_note(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def other(_: Any, settings: Any) -> None:
        settings["data"] = {"class_path": "mine.Data", "init_args": {}}

    run_words("export", str(changed(last(trained), tmp_path / "run", other)), str(tmp_path / "out"))
    assert "no int8 ranges: the run's data is a class of its own, mine.Data" in capsys.readouterr().err
    assert (tmp_path / "out/modules.json").exists() and not (tmp_path / "out" / FILE).exists()


def test_of_two_models_the_one_that_embeds_documents_has_the_ranges(
    trained: Path, teacher: Path, pairs: Path, tmp_path: Path
) -> None:
    words = ("--space", "teacher", "--documents", "teacher")
    run_words("export", str(last(trained)), str(tmp_path / "out"), *words)
    found = content(tmp_path / "out")
    assert found["dim"] == 48 and list(found["ranges"]) == ["48"]
    assert found["ranges"]["48"]["max"] == pytest.approx(
        by_hand(TextEncoder(str(teacher)), positives(pairs), 48)[1], abs=2e-6
    )


def test_an_adapter_alone_has_ranges_and_several_have_none(pairs: Path, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    base = toy_folder(tmp_path / "base", "qwen3")
    files = [adapter_checkpoint(tmp_path / name, base, seed) for seed, name in enumerate(("one", "two"))]
    for file in files:
        settings = yaml.safe_load((file.parents[1] / "config.yaml").read_text())
        data = {"class_path": "EmbeddingDataModule", "init_args": {"train": [{"path": str(pairs)}], "num_workers": 0}}
        (file.parents[1] / "config.yaml").write_text(yaml.safe_dump(settings | {"data": data}))
    run_words("export", str(files[0]), str(tmp_path / "alone"), "--adapter", "true")
    vectors = SentenceTransformer(str(tmp_path / "alone"), device="cpu").encode_document(positives(pairs))
    codes = quantize(vectors, tmp_path / "alone", "uint8")
    assert set(codes.min(axis=0)) == {0} and codes.max(axis=0).min() >= 254
    run_words("export", *map(str, files), str(tmp_path / "both"))
    assert not list((tmp_path / "both").rglob(FILE))
    assert "each adapter has int8 ranges of its own" in (tmp_path / "both/README.md").read_text()


def random_vectors(rows: int, dim: int = 32, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, dim)).astype(np.float32)


class Fixed(TextEncoder):
    """An encoder that gives vectors that are given."""

    def __init__(self, vectors: np.ndarray) -> None:
        torch.nn.Module.__init__(self)
        self.vectors = torch.nn.functional.normalize(torch.from_numpy(vectors), dim=-1)
        self.dim = vectors.shape[1]

    device = torch.device("cpu")  # type: ignore[assignment]

    def encode(self, texts: Any, role: str = "document", batch_rows: int = 4096) -> torch.Tensor:
        assert role == "document"
        return self.vectors[: len(texts)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ranges of 100 vectors of 64 dims, at 64, 32 and 12."""
    write_ranges(Fixed(random_vectors(100, 64)), tmp_path, [str(i) for i in range(100)], [12])
    return tmp_path


@pytest.mark.parametrize("dim", [64, 32, 12])
def test_codes_equal_those_of_sentence_transformers_with_the_shipped_ranges(folder: Path, dim: int) -> None:
    vectors = random_vectors(200, 64, seed=1)  # some beyond the ranges
    short = vectors[:, :dim] / np.linalg.norm(vectors[:, :dim], axis=1, keepdims=True)
    one = content(folder)["ranges"][str(dim)]
    ranges = np.array([one["min"], one["max"]])
    for precision in ("int8", "uint8"):
        theirs = quantize_embeddings(short, precision, ranges=ranges)
        ours = quantize(vectors, folder, precision, dim)
        assert ours.dtype == theirs.dtype and ours.shape == theirs.shape
        differ = ours.astype(int) - theirs.astype(int)
        assert abs(differ).max() <= 1 and (differ != 0).mean() < 1e-3  # lengths are rounded otherwise
        assert (
            {theirs.min(), theirs.max()}
            == {ours.min(), ours.max()}
            == {*((-128, 127) if precision == "int8" else (0, 255))}
        )
    for precision in ("binary", "ubinary"):
        theirs = quantize_embeddings(short, precision)
        ours = quantize(vectors, folder, precision, dim)
        assert ours.dtype == theirs.dtype and np.array_equal(ours, theirs)


def test_codes_by_hand(tmp_path: Path) -> None:
    ranges = {"2": {"min": [0.0, -1.0], "max": [1.0, 1.0]}}
    (tmp_path / FILE).write_text(json.dumps({"format": 1, "dim": 3, "texts": 2, "ranges": ranges}))
    vectors = [[3.0, 4.0, 9.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 5.0]]  # cut to (0.6, 0.8), (-1, 0), (0, 0)
    # 255 · 0.6 = 153, 255 · 1.8 / 2 = 229.5; below the range; 0 and 127.5
    assert quantize(vectors, tmp_path, "uint8", 2).tolist() == [[153, 229], [0, 127], [0, 127]]
    assert quantize(vectors, tmp_path, "int8", 2).tolist() == [[25, 101], [-128, -1], [-128, -1]]
    assert quantize(vectors, tmp_path, "ubinary", 2).tolist() == [[0b11000000], [0], [0]]
    assert quantize(vectors, tmp_path, "binary").tolist() == [[0b11100000 - 128], [-128], [0b00100000 - 128]]


def test_arrays_lists_and_tensors_of_one_vector_or_many_give_the_same_codes(folder: Path) -> None:
    vectors = random_vectors(5, 64)
    wanted = quantize(vectors, folder, "int8", 32)
    for given in (vectors.tolist(), torch.from_numpy(vectors).requires_grad_(), vectors.astype(np.float64)):
        assert np.array_equal(quantize(given, folder, "int8", 32), wanted)
    assert np.array_equal(quantize(vectors[3], folder, "int8", 32), wanted[3])
    assert quantize(vectors[3], folder, "ubinary", 12).shape == (2,)
    assert quantize(vectors[:0], folder, "int8").shape == (0, 64)
    assert quantize(vectors[:0], folder, "binary").shape == (0, 8)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((np.ones((2, 63)), "int8"), "expected 64 entries, .* got 63"),
        ((np.ones((2, 32)), "int8", 32), "expected 64 entries, .* got 32; give whole vectors"),
        ((np.ones((2, 64)), "int8", 16), "has ranges of 64, 32, 12 dims, got 16"),
        ((np.ones((2, 64)), "binary", 65), "64 dims to 65"),
        ((np.ones((2, 64)), "binary", 0), "64 dims to 0"),
        ((np.array([[1.0] * 64, [np.nan] * 64]), "int8"), "row 1 holds NaN"),
        ((np.full((2, 64), np.inf), "binary"), "row 0 holds NaN or infinity"),
        ((np.ones((2, 64)), "int4"), "expected one of int8, uint8, binary, ubinary, got 'int4'"),
        ((np.ones((2, 2, 64)), "int8"), "one of 3 dimensions"),
        ((["a text"], "int8"), "expected numbers"),
    ],
)
def test_mistakes_are_one_clear_line(folder: Path, arguments: Any, said: str) -> None:
    vectors, *others = arguments
    with pytest.raises(UserError, match=said) as found:
        quantize(vectors, folder, *others)
    assert "\n" not in str(found.value)


def test_a_folder_without_ranges_or_with_broken_ones_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"quantization.json: does not exist; `export` and `fit` write it"):
        quantize(np.ones((2, 4)), tmp_path, "int8")
    for broken in (
        "{",
        "[]",
        "{}",
        '{"dim": 4, "ranges": {"4": {"min": [0], "max": [1]}}}',
        '{"dim": 4, "ranges": []}',
    ):
        (tmp_path / FILE).write_text(broken)
        with pytest.raises(UserError, match=r"quantization.json: not as `export` writes it"):
            quantize(np.ones((2, 4)), tmp_path, "int8")


def test_constant_dims_and_too_few_or_endless_vectors(tmp_path: Path) -> None:
    same = np.tile(random_vectors(1), (9, 1))
    write_ranges(Fixed(same), tmp_path, [str(i) for i in range(9)])
    assert quantize(same, tmp_path, "uint8").max() <= 1
    assert read_ranges(tmp_path).of[32][1].unique().tolist() == [1.0]
    with pytest.raises(UserError, match="two documents or more, and there are 1"):
        write_ranges(Fixed(same), tmp_path, ["a", "a"])
    with pytest.raises(UserError, match="NaN"):
        write_ranges(Fixed(same * np.nan), tmp_path, ["a", "b"])
