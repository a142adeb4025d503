from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def job(teacher: Path, student: Path, pairs: Path, tmp_path: Path) -> dict[str, Any]:
    """A job of which the doctor has nothing to say."""
    return {
        "model": {
            "class_path": "EmbeddingModule",
            "init_args": {
                "teacher": {"model": str(teacher)},
                "student": {"model": str(student), "dropout": 0.0},
                "projection": {},
                "losses": {"distill": {"loss": "Distillation"}, "nce": {"loss": "InfoNCE"}},
            },
        },
        "data": {
            "class_path": "EmbeddingDataModule",
            "init_args": {"train": [{"path": str(pairs)}], "global_batch_size": 16, "num_workers": 0},
        },
        "trainer": {"max_steps": 12, "default_root_dir": str(tmp_path / "run"), "accelerator": "cpu"},
    }
