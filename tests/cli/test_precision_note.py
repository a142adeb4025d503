"""Half precision on a CPU is told, since it is seldom meant."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lightning_embed import EmbeddingModule, TextEncoder
from lightning_embed.losses import InfoNCE, LossTerm
from lightning_embed.utils import notes


@pytest.mark.parametrize(("precision", "told"), [("bf16-mixed", True), ("32-true", False)])
def test_bf16_on_a_cpu_gets_a_note(
    student: Path, precision: str, told: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(notes, "_NOTED", set())
    module: Any = EmbeddingModule(TextEncoder(str(student)), {"nce": LossTerm(InfoNCE())})
    module._trainer = SimpleNamespace(
        precision=precision, strategy=SimpleNamespace(root_device=torch.device("cpu")), world_size=1
    )
    module.setup("fit")
    assert ("note: trainer.precision bf16 on a CPU" in capsys.readouterr().err) == told
