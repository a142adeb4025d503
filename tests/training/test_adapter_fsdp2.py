"""An adapter under FSDP2: the same steps, and checkpoints without the base from which it goes on."""

from pathlib import Path

import pytest
import torch

from lightning_embed.encoders.lora import Adapter
from tests.fits import Fit, differences, result, run_fits, write_inputs

ADAPTED = (("adapter", Adapter(4, 8.0, 0.0)),)


@pytest.mark.slow
def test_an_adapter_trains_saves_and_resumes_when_its_base_is_sharded(tmp_path: Path) -> None:
    write_inputs(tmp_path, ("qwen3",))
    run_fits(tmp_path, [Fit("alone", student=ADAPTED, steps=4)], 1)
    fits = []
    for kind in ("fsdp2", "fsdp2 folder"):
        name = kind.replace(" ", "-")
        fits.append(Fit(name, kind, student=ADAPTED, steps=4, save_at=3))
        fits.append(Fit(f"{name}-again", kind, student=ADAPTED, steps=4, resume=name))
    run_fits(tmp_path, fits, 2)
    alone = result(tmp_path, "alone")
    assert all(".lora_" in name or name.startswith(("projection", "losses")) for name in alone["weights"])
    for name in ("fsdp2", "fsdp2-folder"):
        found, again = result(tmp_path, name), result(tmp_path, f"{name}-again")
        assert max(differences(found, alone)) < 1e-4
        assert again["losses"] == found["losses"][3:]
        assert all(torch.equal(again["weights"][key], value) for key, value in found["weights"].items())
