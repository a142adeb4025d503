"""`doctor`, through the command that a user types, and its figures by hand."""

import itertools
import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from lightning_embed.batch import TokenBatch, Tokens, text_key
from lightning_embed.datamodules.plan import Plan
from lightning_embed.doctor.batches import chunks_of, negatives_seen, padding_share, repeated_rows, turns_of
from lightning_embed.doctor.command import devices
from lightning_embed.doctor.texts import find_repeats, histogram, windows
from lightning_embed.doctor.words import bars, one_line, share
from lightning_embed.losses import InfoNCE
from tests.toys import toy_pairs


def words(count: int, first: int = 0) -> str:
    """A text of so many words, which the toys' tokenizer makes count + 2 tokens of."""
    return " ".join(f"w{(first + i) % 200}" for i in range(count))


def put(file: Path, rows: list[dict[str, Any]]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def main(command: str, settings: dict[str, Any], folder: Path, *more: str) -> None:
    from lightning_embed.__main__ import main as command_line

    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(settings))
    arguments, environment = list(sys.argv), dict(os.environ)
    os.environ.pop("LIGHTNING_EMBED_RUN", None)
    try:
        command_line([command, "--config", str(file), *more])
    finally:
        sys.argv = arguments
        os.environ.clear()
        os.environ.update(environment)


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


def found(settings: dict[str, Any], folder: Path, *more: str) -> dict[str, Any]:
    """What `--json` writes."""
    main("doctor", settings, folder, "--json", str(folder / "found.json"), *more)
    return json.loads((folder / "found.json").read_text())


def refused(command: str, settings: dict[str, Any], folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as stop:
        main(command, settings, folder)
    assert stop.value.code == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    return errors[0]


def test_a_sound_job_is_told_so_and_nothing_is_left_behind(
    job: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main("doctor", job, tmp_path)
    out = capsys.readouterr().out
    assert out.splitlines()[-1] == "nothing wrong"
    assert "96 rows" in out and "steps per epoch: 6; the run: 12 steps, 2 epochs" in out
    assert "\x1b" not in out
    long = [line for line in out.splitlines() if len(line) > 80]
    assert [line for line in long if not line.startswith(("read from", "memory", "weights"))] == []
    assert {file.name for file in tmp_path.iterdir()} == {"config.yaml"}


def test_lengths_cuts_prompts_and_examples_by_hand(
    job: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"anchor": words(3, i), "positive": words(n, 7 * i)} for i, n in enumerate([4] * 6 + [8] * 11 + [20] * 3)]
    rows[0]["anchor"] = "w1\tw2 w3"
    job["data"]["init_args"]["train"] = [{"path": str(put(tmp_path / "lengths.jsonl", rows)), "max_length": 18}]
    job["model"]["init_args"]["student"]["prompts"] = {"query": "w9 w9 "}
    (source,) = found(job, tmp_path)["sources"]
    anchor, positive = source["roles"]
    assert (anchor["prompt"], anchor["prompt_text"], positive["prompt_text"]) == ("query", "w9 w9 ", "")
    assert (anchor["least"], anchor["most"], anchor["example_tokens"]) == (7, 7, 7)
    assert anchor["example"] == "w9 w9 w1\tw2 w3"
    # 6 of 6 tokens, 11 of 10, 3 of 22; the 95 % that are shortest end with a text of 22
    assert [positive[key] for key in ("least", "median", "most_of_them", "most")] == [6, 10, 22, 22]
    assert positive["cut"] == 3 / 20 and positive["lost"] == pytest.approx(3 * 4 / (6 * 6 + 11 * 10 + 3 * 22))
    assert sum(positive["histogram"]) == 20 and positive["histogram"][-1] == 3
    assert "anchor, 7 tokens: 'w9 w9 w1\\tw2 w3'" in capsys.readouterr().out


def test_the_histogram_by_hand() -> None:
    assert histogram(np.array([1, 1, 2, 4]), bins=4) == [2, 1, 0, 1]
    assert bars([8, 0, 1, 4]) == "█ ▁▄"
    assert bars([1000, 1]) == "█▁"


def test_an_example_stands_in_one_line() -> None:
    assert one_line("a\nb\\ü\u200b", 80) == "a\\nb\\\\ü\\u200b"
    assert one_line("0123456789", 7) == "0123…89"
    assert len(one_line("\n" * 50, 20)) == 20


def test_shares_are_told_with_a_decimal_where_they_are_small() -> None:
    assert [share(x) for x in (0, 0.0001, 0.004, 0.0994, 0.0996, 1)] == [
        "0 %",
        "< 0.1 %",
        "0.4 %",
        "9.9 %",
        "10 %",
        "100 %",
    ]


def test_repeated_texts_by_hand() -> None:
    parts = [
        {"anchor": ["a", "b", "a"], "positive": [["p", "q"], ["p"], ["p", "q"]], "negative": [["x"], ["b"], ["x"]]},
        {"anchor": ["a", "c"], "positive": [["c"], ["c"]], "negative": [[], ["y", "c"]]},
    ]
    repeats = find_repeats(parts)
    # the third row is the first; the fourth has its anchor; the last has the fourth's positive, is its own, and its own negative
    assert (repeats.rows, repeats.row, repeats.anchor, repeats.positive) == (5, 1, 2, 2)
    assert (repeats.own, repeats.false_negative) == (1, 2)


def test_a_sample_is_spread_over_all_rows() -> None:
    assert [row for part in windows(10, 10, 4) for row in part] == list(range(10))
    some = windows(1000, 100, 10)
    assert len(some) == 10 and some[0].start == 0 and some[-1].stop == 1000
    assert max(b.start - a.start for a, b in itertools.pairwise(some)) == 110


def test_padding_by_hand() -> None:
    # a budget of 8 tokens: two texts of 4, then two of 2; as one block 16 places hold 12 tokens
    assert chunks_of([2, 4, 2, 4], max_tokens=8) == [(2, 4), (2, 2)]
    assert padding_share(12, chunks_of([2, 4, 2, 4], max_tokens=8)) == 0
    assert padding_share(12, [(4, 4)]) == 0.25


def test_padding_of_a_job(job: dict[str, Any], tmp_path: Path) -> None:
    rows = [{"anchor": words(2, i), "positive": words(38, 3 * i)} for i in range(64)]
    job["data"]["init_args"]["train"] = [{"path": str(put(tmp_path / "uneven.jsonl", rows))}]
    (batch,) = found(job, tmp_path)["batches"]
    # 16 texts of 4 tokens and 16 of 40: as one block 704 of 1,280 places are filled, in two chunks all
    assert batch["padding_before"] == pytest.approx(1 - 704 / 1280) and batch["padding_after"] == 0
    assert sorted(batch["chunks"]) == [[16, 4], [16, 40]]


def _batch(rows: list[tuple[str, str, list[str]]], **more: Any) -> TokenBatch:
    columns = {
        "anchor": [a for a, _, _ in rows],
        "positive": [p for _, p, _ in rows],
        "negative": [n for _, _, negatives in rows for n in negatives],
    }
    keys = {role: torch.tensor([text_key(t) for t in texts], dtype=torch.long) for role, texts in columns.items()}
    tokens = {role: Tokens(torch.ones(len(texts)), torch.ones(len(texts))) for role, texts in columns.items()}
    counts = torch.tensor([len(negatives) for _, _, negatives in rows])
    return TokenBatch(tokens, keys=keys, negative_counts=counts, **more)


def test_negatives_seen_by_an_independent_loop() -> None:
    rows = [("a", "p", ["n"]), ("b", "q", ["p", "m"]), ("a", "r", []), ("d", "q", ["d"]), ("e", "s", ["n", "n"])]
    documents = [p for _, p, _ in rows] + [n for _, _, negatives in rows for n in negatives]
    expected = []
    for i, (anchor, positive, _) in enumerate(rows):
        of_equal_anchors = {j for j, (a, _, _) in enumerate(rows) if a == anchor}
        texts = {anchor, positive}
        expected.append(
            sum(j != i and document not in texts and j not in of_equal_anchors for j, document in enumerate(documents))
        )
    assert negatives_seen(_batch(rows), None).tolist() == expected == [8, 9, 9, 8, 10]
    unmasked = InfoNCE(mask_same_text=False)
    assert negatives_seen(_batch(rows), unmasked).tolist() == [10] * 5


def test_labels_and_documents_take_negatives_away() -> None:
    rows: list[tuple[str, str, list[str]]] = [(f"a{i}", f"p{i}", []) for i in range(4)]
    label = torch.tensor([0, 0, 1, 2])
    assert negatives_seen(_batch(rows, label={"anchor": label, "positive": label}), None).tolist() == [2, 2, 3, 3]
    assert negatives_seen(_batch(rows, document={"positive": label}), None).tolist() == [2, 2, 3, 3]


def test_repeated_rows_of_a_batch_by_hand() -> None:
    # the first two share an anchor, the third's positive is the fourth's negative; a negative alone does not count
    rows = [("a", "p", ["x"]), ("a", "q", ["x"]), ("c", "r", []), ("d", "s", ["r"]), ("e", "t", ["t"])]
    assert repeated_rows(_batch(rows)) == 3


def test_turns_of_a_run_are_those_of_the_plan() -> None:
    plan = Plan((100, 40, 9), (10, 10, 10), turns=(7, 5, 2), seed=3)
    for steps in (1, 5, 14, 33):
        counts = Counter(plan[step].source for step in range(steps))
        assert turns_of(plan, steps) == [counts[source] for source in range(3)]
    assert turns_of(plan, None) == [7, 5, 2]


@pytest.mark.parametrize(
    ("asked", "gpus", "ranks"),
    [("auto", 0, 1), ("auto", 4, 4), (-1, 2, 2), (3, 0, 3), ("2", 8, 2), ([0, 5], 8, 2), ("0,1,", 8, 2)],
)
def test_devices(asked: Any, gpus: int, ranks: int) -> None:
    assert devices(asked, gpus) == ranks


def test_ranks_share_a_batch_and_see_each_others_documents(job: dict[str, Any], tmp_path: Path) -> None:
    (one,) = found(job, tmp_path)["batches"]
    two = found(job, tmp_path, "--trainer.devices", "2", "--trainer.strategy", "ddp")
    (batch,) = two["batches"]
    assert two["ranks"] == 2 and (one["anchors"], batch["anchors"]) == (16, 8)
    assert batch["documents"] == one["documents"] == 15 and batch["negatives"] == one["negatives"]
    job["model"]["init_args"]["losses"]["nce"]["loss"] = {"class_path": "InfoNCE", "init_args": {"gather": False}}
    (alone,) = found(job, tmp_path, "--trainer.devices", "2")["batches"]
    assert alone["documents"] == 7


def test_a_large_source_is_sampled_and_its_rows_are_exact(
    job: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("lightning_embed.doctor.texts.MEASURED_ROWS", 50)
    monkeypatch.setattr("lightning_embed.doctor.texts.SCANNED_ROWS", 2048)
    monkeypatch.setattr("lightning_embed.doctor.batches.SEARCHED_BATCHES", 3)
    rows = [{"anchor": words(3, i), "positive": f"{words(5, i * 3)} w{i % 7}"} for i in range(5000)]
    job["data"]["init_args"]["train"] = [{"path": str(put(tmp_path / "large.jsonl", rows))}]
    everything = found(job, tmp_path)
    (source,), (batch,) = everything["sources"], everything["batches"]
    assert (source["rows"], source["sampled"], source["repeats"]["rows"]) == (5000, 50, 2048)
    assert batch["steps"] == 312 and batch["looked_at"] == 12 and not batch["longest_known"]
    out = capsys.readouterr().out
    assert "a sample of 50 rows" in out and "among 2,048 rows" in out and "the longest batch looked at" in out


def test_the_longest_batch_of_the_epoch_is_found(job: dict[str, Any], tmp_path: Path) -> None:
    rows = [{"anchor": words(3, i), "positive": words(5, 3 * i)} for i in range(1600)]
    rows[1234]["positive"] = words(60)
    job["data"]["init_args"]["train"] = [{"path": str(put(tmp_path / "one_long.jsonl", rows))}]
    (batch,) = found(job, tmp_path)["batches"]
    assert batch["longest_known"] and max(tokens for _, tokens in batch["chunks"]) == 62


def test_checkpointed_chunks_keep_one_forward(job: dict[str, Any], tmp_path: Path) -> None:
    job["model"]["init_args"]["student"] |= {"max_tokens": 70}
    before = found(job, tmp_path)
    job["model"]["init_args"]["student"] |= {"checkpoint_chunks": True}
    after = found(job, tmp_path)
    assert len(before["batches"][0]["chunks"]) > 1 and len(after["batches"][0]["chunks"]) == 1
    assert after["memory"]["activations"] < before["memory"]["activations"]


def test_validation_is_looked_at_too(job: dict[str, Any], pairs: Path, tmp_path: Path) -> None:
    job["data"]["init_args"]["validation"] = [{"path": str(pairs), "name": "held-out"}]
    assert [(s["split"], s["title"]) for s in found(job, tmp_path)["sources"]] == [
        ("train", "pairs"),
        ("validation", "held-out"),
    ]


SOURCES: dict[str, tuple[list[dict[str, Any]], str]] = {
    "cut": ([{"anchor": words(3, i), "positive": words(80, i)} for i in range(64)],
            "100 % of its positive texts are longer than 66 tokens and are cut"),
    "repeated-rows": (toy_pairs(32) * 2, "32 of 64 rows repeat an earlier row: take them out"),
    "repeated-anchors": ([{"anchor": words(3, i % 8), "positive": words(9, 3 * i)} for i in range(64)],
                         "56 of 64 rows repeat an earlier row's anchor: make one row of them"),
    "own-positive": ([{"anchor": words(5, i), "positive": words(5, i)} for i in range(64)],
                     "64 of 64 rows have the anchor as the positive"),
    "own-negative": ([{"anchor": words(5, i), "positive": words(6, i), "negative": words(6, i)} for i in range(64)],
                     "64 of 64 rows name their own anchor or positive as a negative"),
    "small": (toy_pairs(12), "it has 12 rows, fewer than a batch of 16"),
    "shared": ([{"anchor": words(3, i), "positive": words(5, i % 20)} for i in range(64)], "set data.no_duplicates: true"),
    "tiny-classes": ([{"text": words(4, 3 * i), "label": i // 2} for i in range(64)],
                     "32 of 32 labels have fewer than 5 rows"),
    "two-classes": ([{"text": words(4, 3 * i), "label": int(i % 4 == 0)} for i in range(64)],
                    "documents as negatives, the others are of its text, label or document"),
}  # fmt: skip


def warned(job: dict[str, Any], folder: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    main("doctor", job, folder)
    return [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning: ")]


def test_each_dubious_source_is_named_with_what_to_do(
    job: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job["data"]["init_args"]["train"] = [
        {"path": str(put(tmp_path / f"{name}.jsonl", rows)), "negatives": 0 if name == "two-classes" else None}
        for name, (rows, _) in SOURCES.items()
    ]
    warnings = warned(job, tmp_path, capsys)
    for name, (_, expected) in SOURCES.items():
        assert len([line for line in warnings if f"source '{name}'" in line and expected in line]) == 1, warnings


def _folder_with_prompts(student: Path, folder: Path) -> str:
    folder.mkdir()
    for file in student.iterdir():
        (folder / file.name).symlink_to(file)
    (folder / "modules.json").write_text(json.dumps([{"type": "sentence_transformers.models.Transformer", "path": ""}]))
    (folder / "config_sentence_transformers.json").write_text(json.dumps({"prompts": {"search_query": "w1 "}}))
    return str(folder)


JOBS: dict[str, tuple[dict[str, Any], str]] = {
    "one row a batch": ({"global_batch_size": 1}, "source 'rows': some anchors see no negative at all"),
    "a source too late": (
        {"mixture": "weight", "max_steps": 1},
        "source 'second': the run ends before its first batch",
    ),
    "a long run": ({"max_steps": 400}, "so the data is read 25 times: lower max_steps"),
    "a short run": ({"max_steps": 1}, "an epoch has 16 steps, so 6.2 % of the data is read"),
    "a small budget": ({"max_tokens": 32}, "model.student: max_tokens 32 is less than max_length 66"),
    "no prompts": ({"prompts": True}, "model.student: its folder names prompts (search_query), but its texts get none"),
    "little memory": ({"memory": 1000}, "the longest batch needs about"),
}


@pytest.mark.parametrize("name", JOBS)
def test_a_dubious_job_is_told_what_to_do(
    name: str,
    job: dict[str, Any],
    student: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    made, expected = JOBS[name]
    file = str(put(tmp_path / "rows.jsonl", toy_pairs(128)))
    sources = [{"path": file}, {"path": file, "name": "second", "weight": 1e-9 if "mixture" in made else 1.0}]
    data = {key: made[key] for key in ("global_batch_size", "mixture") if key in made}
    job["data"]["init_args"] |= {"train": sources, **data}
    job["trainer"]["max_steps"] = made.get("max_steps", 16)
    job["model"]["init_args"]["student"] |= {"max_tokens": made.get("max_tokens", 16384)}
    if "prompts" in made:
        job["model"]["init_args"]["student"]["model"] = _folder_with_prompts(student, tmp_path / "prompted")
    if "memory" in made:
        monkeypatch.setattr("lightning_embed.doctor.examine.available", lambda on_gpu: made["memory"])
    warnings = warned(job, tmp_path, capsys)
    assert len([line for line in warnings if expected in line]) == 1, warnings


def test_no_duplicates_is_not_advised_where_it_is_on(
    job: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"anchor": words(3, i), "positive": words(5, i % 20)} for i in range(64)]
    job["data"]["init_args"] |= {"train": [{"path": str(put(tmp_path / "r.jsonl", rows))}], "no_duplicates": True}
    (batch,) = found(job, tmp_path)["batches"]
    assert batch["repeated"] == 0 and "set data.no_duplicates" not in capsys.readouterr().out


@pytest.mark.parametrize("command", ["doctor", "fit"])
def test_a_source_that_lacks_what_a_loss_requires_is_refused_before_the_first_step(
    command: str, job: dict[str, Any], tmp_path: Path, pairs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scored = put(tmp_path / "scored.jsonl", [row | {"score": 0.5} for row in toy_pairs(64)])
    job["data"]["init_args"] |= {"train": [{"path": str(scored)}, {"path": str(pairs), "weight": 0.01}]}
    job["model"]["init_args"]["losses"] = {"rank": {"loss": "CoSENT"}}
    error = refused(command, job, tmp_path, capsys)
    assert "loss 'rank' (CoSENT) requires score" in error and "source 'pairs'" in error
    assert not list(tmp_path.glob("run/**/metrics.csv")) and not list(tmp_path.glob("run/**/*.ckpt"))


@pytest.mark.parametrize(
    ("weight", "stages", "good"),
    [
        (0, None, True),
        ({0: 0.0, 4: 0.0}, None, True),
        ({9: 1.0}, None, True),
        ({3: 1.0}, None, False),
        (0, {2: {"rank": 1.0}}, False),
    ],
)
def test_a_loss_that_never_runs_requires_nothing(
    weight: Any, stages: Any, good: bool, job: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job["model"]["init_args"]["losses"]["rank"] = {"loss": "CoSENT", "weight": weight}
    job["trainer"]["max_steps"] = 9
    if stages:
        schedule = {
            "class_path": "lightning_embed.callbacks.loss_schedule.LossSchedule",
            "init_args": {"stages": stages},
        }
        job["trainer"]["callbacks"] = [schedule]
    if good:
        main("doctor", job, tmp_path)
    else:
        assert "loss 'rank' (CoSENT) requires score" in refused("doctor", job, tmp_path, capsys)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"train": [{"path": "nowhere.jsonl"}]}, "nowhere.jsonl"),
        ({"train": []}, "give data.train at least one source"),
        ({"trian": []}, "trian"),
    ],
)
def test_mistakes_are_answered_as_in_fit(
    change: dict[str, Any], expected: str, job: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job["data"]["init_args"] |= change
    errors = [refused(command, job, tmp_path, capsys) for command in ("fit", "doctor")]
    assert errors[0].replace("`fit`", "") == errors[1].replace("`fit`", "") and expected in errors[0]


def test_a_file_for_json_that_cannot_be_written(
    job: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main("doctor", job, tmp_path, "--json", str(tmp_path / "no" / "found.json"))
    assert "error: --json" in capsys.readouterr().err
