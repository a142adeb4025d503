import json
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_embed.datamodules import EmbeddingDataModule, Source
from lightning_embed.encoders.text_encoder import TextEncoder
from lightning_embed.tokenizer import TextTokenizer
from tests.toys import toy_pairs


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/lightning_embed/tokens"


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    file = tmp_path / "rows.jsonl"
    pairs = [
        row | {"negative": ["w1", row["anchor"]][: i % 3], "positive": [row["positive"], f"w{i}"]}
        for i, row in enumerate(toy_pairs(40))
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in pairs))
    return file


def batches(rows: Path, student: Path, **settings: Any) -> list[Any]:
    encoder = TextEncoder(str(student), prompts={"query": "w5 ", "document": ""})
    data = EmbeddingDataModule(train=[Source(str(rows), max_length=5)], global_batch_size=8, num_workers=0, **settings)
    data.tokenizers = {"student": encoder.tokenizer}
    data.setup("fit")
    return list(data.train_dataloader())


def test_tokens_made_once_are_those_made_each_time(rows: Path, student: Path, cache: Path) -> None:
    plain, cached = batches(rows, student), batches(rows, student, cache_tokens=True)
    assert len(plain) == len(cached) == 5
    for one, other in zip(plain, cached, strict=True):
        assert (one.texts_cut, one.tokens_lost) == (other.texts_cut, other.tokens_lost)
        for role in ("anchor", "positive", "negative"):
            assert torch.equal(one.student[role].ids, other.student[role].ids)
            assert torch.equal(one.student[role].lengths, other.student[role].lengths)
    assert sum(batch.texts_cut for batch in plain) > 0


def test_a_second_run_tokenises_nothing_and_a_changed_file_everything(
    rows: Path, student: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches(rows, student, cache_tokens=True)
    made = list(cache.iterdir())
    assert len(made) == 1 and not made[0].name.startswith(".")

    def refuse(self: TextTokenizer, *_: object) -> None:
        raise AssertionError("tokenised again")

    with monkeypatch.context() as again:
        again.setattr(TextTokenizer, "encode", refuse)
        batches(rows, student, cache_tokens=True)
    rows.write_text(rows.read_text() + json.dumps({"anchor": "w8", "positive": ["w9"], "negative": []}) + "\n")
    batches(rows, student, cache_tokens=True)
    assert len(list(cache.iterdir())) == 2
