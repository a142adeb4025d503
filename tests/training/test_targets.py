"""A student that learns translations: each is taught the vector that the teacher gives the original."""

import json
from pathlib import Path
from typing import Any

import torch

from lightning_embed import EmbeddingModule, TextEncoder
from tests.cli.test_fit import config, run


def test_translations_come_to_lie_at_their_originals_which_alone_the_teacher_sees(
    teacher: Path, student: Path, tmp_path: Path
) -> None:
    rows = [{"en": f"w{i} w{i + 1}", "de": f"w{i + 40} w{i + 41}"} for i in range(16)]
    file = tmp_path / "parallel.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    job: dict[str, Any] = config(teacher, student, file, tmp_path / "run")
    source = {"path": str(file), "columns": {"anchor": "en", "positive": "de"}}
    job["data"]["init_args"] = {"train": [source], "global_batch_size": 16, "num_workers": 0}
    loss = {"class_path": "Distillation", "init_args": {"targets": {"positive": "anchor"}}}
    job["model"]["init_args"]["losses"] = {"distill": {"loss": loss}}
    job["trainer"]["max_steps"] = 40
    job["report"] = {"enabled": False}
    run(job, tmp_path)
    module = EmbeddingModule.load_from_checkpoint(tmp_path / "run/checkpoints/last.ckpt")
    assert module.teacher_roles == {"anchor"} and module.projection is not None
    whole = TextEncoder(str(teacher)).encode([row["en"] for row in rows])
    with torch.no_grad():
        mapped, _ = module.projection(module.student.eval().encode([row["de"] for row in rows]), whole)
    near = torch.nn.functional.normalize(mapped, dim=-1) @ whole.T
    assert (near.argmax(1) == torch.arange(16)).float().mean() > 0.9
    assert module.losses["distill"].targets == {"positive": "anchor"}
