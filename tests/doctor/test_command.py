"""`doctor`, through the command that a user types."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.commands import run
from tests.doctor.jobs import found, put, refused, words
from tests.toys import toy_pairs


def test_a_sound_job_is_told_so_and_nothing_is_left_behind(
    job: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("doctor", job, tmp_path)
    out = capsys.readouterr().out
    assert out.splitlines()[-1] == "nothing wrong"
    assert "96 rows" in out and "steps per epoch: 6; the run: 12 steps, 2 epochs" in out
    assert "\x1b" not in out
    long = [line for line in out.splitlines() if len(line) > 80]
    assert [line for line in long if not line.startswith(("read from", "memory", "weights"))] == []
    assert {file.name for file in tmp_path.iterdir()} == {"config.yaml"}


def test_rows_that_are_skipped_leave_no_list_behind(
    job: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [*toy_pairs(32), {"anchor": " ", "positive": "w1"}]
    job["data"]["init_args"] |= {
        "train": str(put(tmp_path / "bad.jsonl", rows)),
        "on_bad_row": "skip",
        "max_bad_share": 0.5,
    }
    monkeypatch.chdir(tmp_path)
    run("doctor", job, tmp_path)
    assert not list(tmp_path.rglob("bad_rows.jsonl"))


@pytest.mark.parametrize(
    ("trainer", "line"),
    [
        ({"max_steps": 12}, "first validation: after 6 steps"),
        ({"max_steps": 4}, "first validation: after 4 steps (the end of the run)"),
        (
            {"max_steps": 40, "check_val_every_n_epoch": 3, "val_check_interval": 0.5},
            "first validation: after 15 steps",
        ),
        (
            {"max_steps": 40, "check_val_every_n_epoch": None, "val_check_interval": 20},
            "first validation: after 20 steps",
        ),
        ({"max_steps": -1, "max_epochs": 2, "val_check_interval": "00:00:10:00"}, None),
    ],
)
def test_when_the_first_validation_comes(
    trainer: dict[str, Any], line: str | None, job: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job["data"]["init_args"]["validation"] = job["data"]["init_args"]["train"]
    job["trainer"] |= trainer
    run("doctor", job, tmp_path)
    said = [one for one in capsys.readouterr().out.splitlines() if one.startswith("first validation")]
    assert said == ([line] if line else [])


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


def test_padding_of_a_job(job: dict[str, Any], tmp_path: Path) -> None:
    rows = [{"anchor": words(2, i), "positive": words(38, 3 * i)} for i in range(64)]
    job["data"]["init_args"]["train"] = [{"path": str(put(tmp_path / "uneven.jsonl", rows))}]
    (batch,) = found(job, tmp_path)["batches"]
    # 16 texts of 4 tokens and 16 of 40: as one block 704 of 1,280 places are filled, in two chunks all
    assert batch["padding_before"] == pytest.approx(1 - 704 / 1280) and batch["padding_after"] == 0
    assert sorted(batch["chunks"]) == [[16, 4], [16, 40]]


def test_ranks_share_a_batch_and_see_each_others_documents(job: dict[str, Any], tmp_path: Path) -> None:
    (one,) = found(job, tmp_path)["batches"]
    two = found(job, tmp_path, "--trainer.devices", "2", "--trainer.strategy", "ddp")
    (batch,) = two["batches"]
    assert two["ranks"] == 2 and (one["anchors"], batch["anchors"]) == (16, 8)
    assert batch["documents"] == one["documents"] == 15 and batch["negatives"] == one["negatives"]
    job["model"]["init_args"]["losses"]["nce"]["loss"] = {"class_path": "InfoNCE", "init_args": {"gather": False}}
    (alone,) = found(job, tmp_path, "--trainer.devices", "2")["batches"]
    assert alone["documents"] == 7


def test_texts_alone_are_contrasted_with_nothing(
    job: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = {"path": str(put(tmp_path / "texts.jsonl", [{"text": words(5, i)} for i in range(64)]))}
    pairs = job["data"]["init_args"]["train"]
    job["model"]["init_args"]["losses"] = {"distill": {"loss": {"class_path": "Distillation"}}}
    job["data"]["init_args"]["train"] = [texts]
    (batch,) = found(job, tmp_path)["batches"]
    assert batch["documents"] == 0 and "negatives that an anchor" not in capsys.readouterr().out
    job["data"]["init_args"]["train"] = [texts, *pairs]
    run("doctor", job, tmp_path)
    table = capsys.readouterr().out.partition("negatives that an anchor")[2]
    assert "pairs" in table and "texts " not in table.partition("documents:")[0]


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
    scored = put(tmp_path / "scored.jsonl", [row | {"score": i / 64} for i, row in enumerate(toy_pairs(64))])
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
        job["trainer"]["callbacks"] = [{"class_path": "LossSchedule", "init_args": {"stages": stages}}]
    if good:
        run("doctor", job, tmp_path)
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
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(SystemExit):
        run("doctor", job, tmp_path, "--json", str(tmp_path / "file" / "found.json"))
    assert "error: --json" in capsys.readouterr().err


def test_the_configuration_that_fit_prints_is_taken(
    job: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        run("fit", job, tmp_path, "--print_config")
    assert stop.value.code == 0
    run("doctor", yaml.safe_load(capsys.readouterr().out), tmp_path)
    assert "nothing wrong" in capsys.readouterr().out


def test_every_kind_of_source_is_read(job: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    long = [{"anchor": words(3, i), "positive": words(150, 3 * i)} for i in range(32)]
    scored = [
        row | {"negative": [words(7, i), words(8, i)], "score": [1.0, 0.5, 0.1]} for i, row in enumerate(toy_pairs(32))
    ]
    several = [
        {"query": words(3, i), "pos": [words(4, i), words(5, i)], "neg": [words(9, i)] * (i % 2)} for i in range(32)
    ]
    bad = [*toy_pairs(300), {"anchor": " ", "positive": "w1"}]
    files = {"long": long, "scored": scored, "several": several, "bad": bad, "one": toy_pairs(1)}
    train: list[dict[str, Any]] = [{"path": str(put(tmp_path / f"{name}.jsonl", rows))} for name, rows in files.items()]
    train[0]["long_texts"] = "chunk"
    job["data"]["init_args"] |= {"train": train, "on_bad_row": "skip"}
    everything = found(job, tmp_path)
    by_title = {source["title"]: source for source in everything["sources"]}
    assert by_title["long"]["rows"] == 96 and by_title["long"]["columns"] == {"document": "document"}
    assert [role["texts"] for role in by_title["scored"]["roles"]] == [32, 32, 64]
    assert by_title["scored"]["columns"] == {"score": "score"}
    assert [by_title["several"]["roles"][1][key] for key in ("least", "most")] == [6, 7]
    assert (by_title["bad"]["rows"], by_title["bad"]["left_out"]) == (300, 1)
    assert len(everything["batches"]) == 5 and everything["batches"][1]["documents"] == 47
    assert "left out: 1 row that" in capsys.readouterr().out
