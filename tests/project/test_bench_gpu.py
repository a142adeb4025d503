"""The GPU benchmark, at toy size on the CPU."""

import json
from pathlib import Path

import pytest
import torch

from benchmarks.gpu import batch_lengths, main
from benchmarks.gpu_models import Shape, peak_of


def test_flops_by_hand() -> None:
    shape = Shape(
        "qwen3", hidden=8, layers=2, heads=4, kv_heads=2, head_dim=3, intermediate=16, vocabulary=9, rope_theta=1
    )
    matrices = 2 * 8 * 12 + 2 * 8 * 6 + 3 * 8 * 16
    assert shape.flops([5, 2]) == 6 * 2 * (matrices * 7 + 1 * 12 * 29)
    other = Shape("eurobert", 8, 2, 4, 2, 3, 16, 9, 1)
    assert other.flops([5]) - shape.flops([5]) == 6 * 2 * 12 * 25


def test_a_batch_has_mixed_lengths_within_its_tokens() -> None:
    assert batch_lengths(80, 200) == [80, 10, 50, 30] and batch_lengths(512, 100) == [512]


def test_peaks_are_of_the_chips_that_are_known() -> None:
    assert peak_of("NVIDIA H100 80GB HBM3") == 989e12 and peak_of("NVIDIA A100-SXM4-80GB") == 312e12
    assert peak_of("NVIDIA H100 PCIe") is None and peak_of("NVIDIA L4") is None


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_cuda_it_is_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--out", str(tmp_path / "out")])
    error = capsys.readouterr().err
    assert stop.value.code == 2 and error.count("\n") == 1 and "--toy" in error and not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_toy_runs_everything_and_all_sides_give_the_same_vectors(tmp_path: Path) -> None:
    main(["--toy", "--out", str(tmp_path)])
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert (tmp_path / "gpu.png").stat().st_size > 10_000 and found["machine"]["toy"]
    assert [point["model"] for point in found["points"]] == ["Qwen3-0.6B"] * 3 + ["EuroBERT-210m"] * 3
    for point in found["points"]:
        assert len(point["cells"]) == 5
        for cell in point["cells"].values():
            assert cell["said"] == "" and cell["least_cosine"] > 0.9999 and cell["tokens_per_s"] > 0
