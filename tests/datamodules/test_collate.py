"""A step's rows are the same for every number of ranks and workers; the ranks' shares are the whole, and about as long."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from lightning_embed.batch import TextBatch, TokenBatch
from lightning_embed.datamodules.collate import Steps, text_batch
from lightning_embed.datamodules.plan import Plan, Step
from lightning_embed.datamodules.sampler import StepSampler
from lightning_embed.datamodules.sources import Source
from lightning_embed.datamodules.sources.opening import open_source
from lightning_embed.datamodules.sources.rows import Rows
from lightning_embed.tokenizer import TextTokenizer


@pytest.fixture(scope="module")
def tokenizer(student: Path) -> TextTokenizer:
    return TextTokenizer(student, {"query": "w1 ", "document": "w2 "}, 64, False)


def opened(folder: Path, name: str, rows: list[dict[str, Any]], **given: Any) -> Rows:
    file = folder / f"{name}.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return open_source(Source(str(file), **given))


@pytest.fixture
def sources(tmp_path: Path) -> list[Rows]:
    ragged = [
        {
            "anchor": f"w{i}",
            "positive": " ".join(f"w{j}" for j in range(1 + (i * i) % 37)),
            "negative": [f"w{(i + j) % 190}" for j in range(i % 4)],
            "score": [i / 64] + [j / 64 for j in range(i % 4)],
        }
        for i in range(45)
    ]
    labelled = [{"text": f"w{i} w{i % 5}", "label": i % 5} for i in range(40)]
    return [opened(tmp_path, "ragged", ragged), opened(tmp_path, "labelled", labelled, negatives=2)]


def table(batch: TokenBatch) -> dict[int, tuple[Any, ...]]:
    """Row -> all that belongs to it, as a loop over rows reads it."""
    counts = batch.negative_counts.tolist() if batch.negative_counts is not None else [0] * len(batch.rows)
    found, start = {}, 0
    texts = {role: [ids.tolist() for ids in t.ids.split(t.lengths.tolist())] for role, t in batch.student.items()}
    for i, (row, count) in enumerate(zip(batch.rows, counts, strict=True)):
        own = slice(start, start + count)
        start += count
        found[row] = (
            texts["anchor"][i], texts["positive"][i], texts.get("negative", [])[own],
            {r: v.tolist()[own] if r == "negative" else v.tolist()[i] for r, v in batch.score.items()},
            {r: v.tolist()[own] if r == "negative" else v.tolist()[i] for r, v in batch.label.items()},
            {r: v.tolist()[own] if r == "negative" else v.tolist()[i] for r, v in batch.keys.items()},
        )  # fmt: skip
    return found


@pytest.mark.parametrize("no_duplicates", [False, True])
@pytest.mark.parametrize("world", [2, 4])
def test_the_ranks_shares_are_the_whole_step(
    sources: list[Rows], tokenizer: TextTokenizer, world: int, no_duplicates: bool
) -> None:
    plan = Plan((45, 40), (9, 8), seed=3)
    whole = Steps(sources, plan, tokenizer, None, 0, 1, True, no_duplicates)
    shares = [Steps(sources, plan, tokenizer, None, rank, world, True, no_duplicates) for rank in range(world)]
    for k in range(12):
        parts = [share[k] for share in shares]
        together: dict[int, tuple[Any, ...]] = {}
        for part in parts:
            assert part.source == whole[k].source and not together.keys() & table(part).keys()
            together |= table(part)
        assert together == table(whole[k])
        tokens = [part.token_count for part in parts]
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
        assert max(tokens) - min(tokens) <= 40 + 3 * 6  # the longest row


def test_fewer_rows_than_ranks_leave_some_without_any(sources: list[Rows], tokenizer: TextTokenizer) -> None:
    plan = Plan((45, 40), (3, 3))
    parts = [Steps(sources, plan, tokenizer, tokenizer, rank, 4, True)[0] for rank in range(4)]
    assert sorted(map(len, parts)) == [0, 1, 1, 1]


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_workers_change_nothing(sources: list[Rows], tokenizer: TextTokenizer, workers: int) -> None:
    plan = Plan((45, 40), (9, 8), seed=3)
    steps = Steps(sources, plan, tokenizer, None, no_duplicates=True)
    loader = DataLoader(steps, batch_size=None, sampler=StepSampler(len(plan), lambda: 7), num_workers=workers)
    for k, batch in zip(range(7, 7 + len(plan)), loader, strict=True):
        assert table(batch) == table(steps[k]) and batch.source == steps[k].source


def test_evaluation_deals_the_rows_out_in_order(sources: list[Rows], tokenizer: TextTokenizer) -> None:
    plan = Plan((45, 40), (10, 10), shuffle=False, drop_last=False)
    parts = [[Steps(sources, plan, tokenizer, None, rank, 2)[k].rows for k in range(len(plan))] for rank in (0, 1)]
    both = [sorted(a + b) for a, b in zip(*parts, strict=True)]
    assert both == [list(range(s, min(s + 10, n))) for n in (45, 40) for s in range(0, n, 10)]


def test_select_keeps_what_belongs_to_each_row() -> None:
    batch = TextBatch(
        {"anchor": ["a", "b", "c"], "positive": ["p", "q", "r"], "negative": ["b1", "b2", "c1"]},
        negative_counts=[0, 2, 1],
        score={"positive": [1.0, 2.0, 3.0], "negative": [0.1, 0.2, 0.3]},
        document={"positive": [7, 8, 9]},
        rows=[10, 11, 12],
    )
    part = batch.select([2, 1])
    assert part.texts == {"anchor": ["c", "b"], "positive": ["r", "q"], "negative": ["c1", "b1", "b2"]}
    assert part.negative_counts == [1, 2] and part.score == {"positive": [3.0, 2.0], "negative": [0.3, 0.1, 0.2]}
    assert part.document == {"positive": [9, 8]} and part.rows == [12, 11]
    assert part.by_row() == [["c", "r", "c1"], ["b", "q", "b1", "b2"]]
    assert batch.select([]).texts == {"anchor": [], "positive": [], "negative": []}


def test_other_positives_and_negatives_are_taken_each_epoch_until_all_were(tmp_path: Path) -> None:
    row = {
        "anchor": "a",
        "positive": ["p0", "p1", "p2"],
        "negative": [f"n{i}" for i in range(5)],
        "score": [1, 0, 1, 2, 3, 4],
    }
    rows = opened(tmp_path, "rows", [row], negatives=2)
    batches = [text_batch(rows, Plan((1,), (1,))[k]) for k in range(5)]
    assert {b.texts["positive"][0] for b in batches} == {"p0", "p1", "p2"}
    assert {n for b in batches for n in b.texts["negative"]} == {f"n{i}" for i in range(5)}
    for batch in batches:
        assert batch.negative_counts == [2]
        assert [float(n[1]) for n in batch.texts["negative"]] == batch.score["negative"]


def test_prompts_and_max_length_are_those_of_the_source(
    tmp_path: Path, student: Path, tokenizer: TextTokenizer
) -> None:
    long = " ".join(f"w{i}" for i in range(30))
    rows = opened(tmp_path, "rows", [{"anchor": long, "positive": long}], max_length=8, prompts={"positive": "query"})
    batch = Steps([rows], Plan((1,), (1,)), tokenizer, tokenizer)[0]
    query = tokenizer.hf.convert_tokens_to_ids("w1")
    for role in ("anchor", "positive"):
        assert batch.student[role].lengths.tolist() == [8] and batch.student[role].ids[1] == query
    assert (batch.texts_cut, batch.tokens_lost) == (2, 2 * (30 + 1 - 6))
    matching = opened(tmp_path, "same", [{"anchor": "w9", "positive": "w9"}], task="text-matching")
    batch = Steps([matching], Plan((1,), (1,)), tokenizer, None)[0]
    assert torch.equal(batch.student["anchor"].ids, batch.student["positive"].ids)


def test_strange_texts_go_through_the_whole_pipe(tmp_path: Path, tokenizer: TextTokenizer) -> None:
    texts = ["🙂" * 100_000, "שלום " * 40_000, "x" * 200_000, "\u2028\u0085w1", "\0w2", "e\u0301"]
    rows = opened(tmp_path, "rows", [{"anchor": text, "positive": f"w1 {text}"} for text in texts])
    step = Step(0, Plan((6,), (6,), shuffle=False)[0].rows, 0)
    assert text_batch(rows, step).texts["anchor"] == texts
    batch = Steps([rows], Plan((6,), (6,)), tokenizer, None)[0]
    assert len(batch) == 6 and int(batch.student["positive"].lengths.max()) <= 64
