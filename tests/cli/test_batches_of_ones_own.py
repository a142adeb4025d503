"""Batches of a user's own DataModule that are no TokenBatch."""

from pathlib import Path
from typing import Any

import lightning.pytorch as L
import pytest
from torch.utils.data import DataLoader

from tests.cli.test_fit import config, refused


class Texts(L.LightningDataModule):
    """Gives texts as they are.

    Args:
        keyed: Whether a batch is a dict.
    """

    def __init__(self, keyed: bool = True) -> None:
        super().__init__()
        self.keyed = keyed

    def train_dataloader(self) -> DataLoader[Any]:
        rows = [{"anchor": f"w{i}", "positive": "w1"} if self.keyed else f"w{i}" for i in range(32)]
        return DataLoader(rows, batch_size=8)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("keyed", "projection", "got"),
    [(True, {}, "got a dict of anchor, positive"), (False, {"start": "random"}, "got a list")],
)
def test_a_batch_that_is_no_token_batch_is_one_line(
    teacher: Path, student: Path, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], keyed: bool,
    projection: dict[str, str], got: str,
) -> None:  # fmt: skip
    job = config(teacher, student, pairs, tmp_path / "run")
    job["model"]["init_args"]["projection"] = projection
    job["data"] = {"class_path": "tests.cli.test_batches_of_ones_own.Texts", "init_args": {"keyed": keyed}}
    said = refused(job, tmp_path, capsys)
    assert "expected batches that are a lightning_embed.TokenBatch" in said and got in said
