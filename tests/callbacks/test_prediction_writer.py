"""`predict` with several sources: every row is written once, under its own source, in the order given."""

import copy
import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import torch.distributed as dist

from lightning_embed.batch import TokenBatch, Tokens
from lightning_embed.callbacks import PredictionWriter
from tests import commands
from tests.cli.test_fit import config
from tests.forks import free_port, run_ranks
from tests.toys import toy_pairs


def write(file: Path, rows: list[dict[str, str]]) -> str:
    file.parent.mkdir(exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


@pytest.fixture
def job(teacher: Path, student: Path, pairs: Path, tmp_path: Path) -> dict[str, Any]:
    return config(teacher, student, pairs, tmp_path / "run")


def predict(job: dict[str, Any], sources: list[str], tmp_path: Path, name: str = "out.parquet") -> Any:
    job = copy.deepcopy(job)
    job["data"]["init_args"]["predict"] = [{"path": path} for path in sources]
    commands.run("predict", job, tmp_path, "--output.path", str(tmp_path / name))
    return pq.read_table(tmp_path / name) if name.endswith("parquet") else np.load(tmp_path / name)


def test_sources_of_one_name_keep_their_order_and_have_names_of_their_own(job: dict[str, Any], tmp_path: Path) -> None:
    rows = toy_pairs(5)
    sources = [write(tmp_path / "b/x.jsonl", rows[3:]), write(tmp_path / "a/x.jsonl", rows[:3])]
    table = predict(job, sources, tmp_path)
    assert table["source"].to_pylist() == ["x"] * 2 + ["x (2)"] * 3
    assert table["row"].to_pylist() == [0, 1, 0, 1, 2]
    alone = np.array(predict(job, [write(tmp_path / "all.jsonl", rows)], tmp_path)["anchor"].to_pylist())
    assert np.array(table["anchor"].to_pylist()) == pytest.approx(alone[[3, 4, 0, 1, 2]], abs=1e-5)
    assert predict(job, sources, tmp_path, "out.npy") == pytest.approx(alone[[3, 4, 0, 1, 2]], abs=1e-5)


@pytest.mark.parametrize("pairs_first", [True, False])
def test_pairs_and_lone_texts_share_a_file(job: dict[str, Any], tmp_path: Path, pairs_first: bool) -> None:
    both = [write(tmp_path / "pairs.jsonl", toy_pairs(4)), write(tmp_path / "texts.jsonl", [{"text": "w1"}] * 2)]
    table = predict(job, both if pairs_first else both[::-1], tmp_path)
    expected = [True] * 4 + [False] * 2
    assert table["positive"].is_valid().to_pylist() == (expected if pairs_first else expected[::-1])
    assert table["anchor"].null_count == 0 and table.schema.names == ["source", "row", "anchor", "positive"]


def _rank(rank: int, folder: str, port: int) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    dist.init_process_group("gloo", rank=rank, world_size=2)
    writer = PredictionWriter(f"{folder}/out.parquet")
    rows = [0] if rank == 0 else []
    tokens = Tokens(torch.zeros(0, dtype=torch.long), torch.zeros(0, dtype=torch.long))
    vectors = {"anchor": torch.ones(len(rows), 3)}
    source: Any = SimpleNamespace(source=SimpleNamespace(title="one"))
    trainer: Any = SimpleNamespace(datamodule=SimpleNamespace(rows=lambda _: [source]), is_global_zero=rank == 0)
    module: Any = SimpleNamespace(device=torch.device("cpu"))
    writer.on_predict_batch_end(trainer, module, vectors, TokenBatch({"anchor": tokens}, rows=rows, source="one"), 0)
    writer.on_predict_end(trainer, module)
    dist.barrier()
    os._exit(0)


def test_a_rank_without_rows_takes_part(tmp_path: Path) -> None:
    run_ranks(_rank, (str(tmp_path), free_port()), 2)
    assert pq.read_table(tmp_path / "out.parquet").to_pylist() == [{"source": "one", "row": 0, "anchor": [1, 1, 1]}]
