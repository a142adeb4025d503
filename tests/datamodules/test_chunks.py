"""A row whose text is too long becomes several, one for each piece, of which nothing is lost or cut."""

import json
from pathlib import Path
from typing import Any

import pytest

from lightning_embed.datamodules.collate import Steps, text_batch
from lightning_embed.datamodules.plan import Plan
from lightning_embed.datamodules.sources import Source
from lightning_embed.datamodules.sources.chunks import chunked
from lightning_embed.datamodules.sources.opening import open_source
from lightning_embed.datamodules.sources.rows import Rows
from lightning_embed.tokenizer import TextTokenizer


def opened(
    folder: Path, student: Path, *rows: dict[str, Any], prompts: dict[str, str] | None = None, **given: Any
) -> tuple[Rows, TextTokenizer]:
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    tokenizer = TextTokenizer(student, prompts or {}, 12, False)
    needed = ("anchor",) if "positive" not in rows[0] and "label" not in rows[0] else ("anchor", "positive")
    return chunked(open_source(Source(str(file), long_texts="chunk", **given), needed), tokenizer), tokenizer


LONG = " ".join(f"w{i}" for i in range(25))


def test_a_long_positive_becomes_pieces_that_fit_and_say_it_all(tmp_path: Path, student: Path) -> None:
    rows, tokenizer = opened(tmp_path, student, {"anchor": "w1", "positive": "w2"}, {"anchor": "w3", "positive": LONG})
    taken = rows.take(range(len(rows)))
    assert taken["anchor"] == ["w1", "w3", "w3", "w3"] and " ".join(taken["positive"][1:]) == LONG
    assert len({*taken["document"][1:]}) == 1 and taken["document"][0] != taken["document"][1]
    assert tokenizer(taken["positive"])[1:] == (0, 0)


def test_a_prompt_takes_its_room(tmp_path: Path, student: Path) -> None:
    rows, tokenizer = opened(
        tmp_path, student, {"anchor": "w1", "positive": LONG}, prompts={"document": "w9 w9 w9 ", "query": ""}
    )
    assert len(rows) == 4 and tokenizer(rows.take(range(4))["positive"], "document")[1:] == (0, 0)
    plain, _ = opened(
        tmp_path, student, {"anchor": "w1", "positive": LONG}, prompts={"document": "w9 w9 w9 ", "none": ""},
    )  # fmt: skip
    assert len(plain) == 4


def test_another_prompt_of_the_source_is_another_cut(tmp_path: Path, student: Path) -> None:
    prompts = {"document": "w9 w9 w9 ", "short": ""}
    row = {"anchor": "w1", "positive": LONG}
    assert len(opened(tmp_path, student, row, prompts=prompts)[0]) == 4
    file = tmp_path / "rows.jsonl"
    source = Source(str(file), long_texts="chunk", prompts={"positive": "short"})
    assert len(chunked(open_source(source), TextTokenizer(student, prompts, 12, False))) == 3


def test_a_lone_text_is_cut_up_by_the_sources_own_max_length(tmp_path: Path, student: Path) -> None:
    rows, _ = opened(tmp_path, student, {"anchor": LONG}, max_length=7)
    assert " ".join(rows.take(range(5))["anchor"]) == LONG and len(rows) == 5


def test_scores_negatives_and_documents_go_with_each_piece(tmp_path: Path, student: Path) -> None:
    row = {"anchor": "w1", "positive": [LONG, "w7"], "negative": ["w8"], "score": [0.5, 0.1], "about": "x"}
    rows, _ = opened(
        tmp_path, student, row, row | {"positive": ["w6"]},
        columns={c: c for c in ("anchor", "positive", "negative", "score")} | {"document": "about"},
    )  # fmt: skip
    batch = text_batch(rows, Plan((5,), (5,), shuffle=False)[0])
    assert batch.texts["positive"][3:] == ["w7", "w6"] and batch.texts["negative"] == ["w8"] * 5
    assert batch.score == {"positive": [0.5] * 5, "negative": [0.1] * 5}
    assert len(set(batch.document["positive"])) == 1  # the document that the source names


@pytest.mark.parametrize("negatives", [0, 2])
def test_pieces_of_labelled_texts_keep_their_labels(tmp_path: Path, student: Path, negatives: int) -> None:
    texts = [{"text": f"w{100 + i} {LONG}", "label": i % 2} for i in range(4)]
    rows, tokenizer = opened(tmp_path, student, *texts, negatives=negatives)
    assert len(rows) == 12
    batch = text_batch(rows, Plan((12,), (12,))[0])
    assert batch.label["anchor"] == batch.label["positive"] and batch.negative_counts in (None, [negatives] * 12)
    steps = Steps([rows], Plan((12,), (12,)), tokenizer, None, 1, 2, True)[0]
    assert len(steps) == 6 and set(steps.document) == ({"positive", "negative"} if negatives else {"positive"})
