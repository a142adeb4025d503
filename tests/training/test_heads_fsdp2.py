"""Dense layers of an encoder under DDP and FSDP2: the same steps, whose checkpoint resumes anywhere."""

from pathlib import Path

import pytest
import torch

from tests.encoders.test_heads import dense_folder
from tests.fits import Fit, differences, result, run_fits, write_inputs


@pytest.mark.slow
def test_heads_train_alike_on_one_rank_and_sharded_over_two(tmp_path: Path) -> None:
    write_inputs(tmp_path, ())
    dense_folder(tmp_path / "st", "tokens").rename(tmp_path / "bert")
    run_fits(tmp_path, [Fit("alone", family="bert", steps=4, save_at=3)], 1)
    fits = [
        Fit("ddp", "ddp", "bert", steps=4),
        Fit("fsdp2", "fsdp2", "bert", steps=4),
        Fit("chunked", "fsdp2 folder", "bert", chunked=True, steps=4, save_at=3),
        Fit("again", "fsdp2 folder", "bert", chunked=True, steps=4, resume="chunked"),
        Fit("from alone", "fsdp2", "bert", steps=4, resume="alone"),
    ]
    run_fits(tmp_path, fits, 2)
    alone = result(tmp_path, "alone")
    assert {"student.token_heads.0.linear.weight", "student.heads.1.linear.bias"} <= set(alone["weights"])
    for name in ("ddp", "fsdp2", "chunked"):
        assert max(differences(result(tmp_path, name), alone)) < 1e-4
    for name, first in (("again", "chunked"), ("from alone", "alone")):
        weights = result(tmp_path, name)["weights"]
        assert all(
            torch.allclose(weights[key], value, atol=1e-5) for key, value in result(tmp_path, first)["weights"].items()
        )
