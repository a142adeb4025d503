"""Mistakes that were a traceback, a riddle or nothing at all: each is one line that says where it is, and what to write."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from lightning_embed import EmbeddingDataModule, Source, UserError
from lightning_embed.__main__ import main
from lightning_embed.callbacks.defaults import trainer_defaults
from tests.cli.test_fit import config, refused, run

Job = dict[str, Any]


@pytest.fixture
def job(teacher: Path, student: Path, pairs: Path, tmp_path: Path) -> Job:
    return config(teacher, student, pairs, tmp_path / "run")


def said(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """The one line of a command that is refused."""
    with pytest.raises(SystemExit) as stop:
        main([str(word) for word in words])
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert stop.value.code == 2 and len(lines) == 1
    return lines[0]


@pytest.mark.parametrize(
    ("command", "settings", "expected"),
    [
        ("evaluate", {"models": ["x"], "tasks": 5}, "tasks: expected a list, got 5"),
        ("evaluate", {"models": ["x"], "tasks": ["x"], "precision": ["int8"]}, "precision: there is no such setting; did you mean"),
        ("mine", {"source": {"path": "p.jsonl", "colums": {"anchor": "q"}}}, "source.colums: there is no such setting; did"),
        ("mine", {"source": {"path": "p.jsonl"}, "teacher": {"modle": "x"}}, "teacher.modle: there is no such setting; did"),
        ("mine", {"source": {"path": "p.jsonl"}, "num_negatives": "many"}, "num_negatives: expected a whole number"),
        ("export", {"dim": [8]}, "dim: expected a whole number or null, got [8]"),
        ("recipe", {"stages": {"first": {}}}, "stages: expected a list, got {first: {}}"),
        ("recipe", {"stages": [{"name": "a", "config": "a.yaml", "aftr": "b"}]}, "stages, item 1.aftr: there is no such setting; did"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_tools_file_is_named_with_file_and_key(
    command: str, settings: Job, expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(yaml.safe_dump(settings))
    words = ["ckpt", "out"] if command == "export" else []
    assert said(capsys, command, *words, "--config", file).startswith(f"error: {file}: {expected}")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["mine", "--source", "pairs.jsonl"], "--source: expected its settings by name, such as --source.path"),
        (["mine", "--source.paht", "x"], "--source.paht: there is no such setting; did you mean path?"),
        (["mine", "--source", "{path: x, filtr: [a]}"], "--source.filtr: there is no such setting; did you mean filter?"),
        (["export", "a", "b", "--onnx", "maybe"], "onnx: expected true or false, got maybe"),
        (["export", "a", "b", "--dims", "8"], "--dims: there is no such setting; did you mean dim?"),
        (["evaluate", "x", "--tasks", "y", "--shots", "many"], "shots: expected a whole number, got many"),
    ],
)  # fmt: skip
def test_a_mistake_after_an_option_of_a_tool_is_named(
    words: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said(capsys, *words).startswith(f"error: {expected}")


def test_what_a_file_of_a_tool_lacks_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "chain.yaml").write_text("stages: [{name: a}]")
    line = said(capsys, "recipe", tmp_path / "chain.yaml")
    assert line == "error: stages, item 1: Stage needs config, which is not given"


@pytest.mark.parametrize("command", ["fit", "doctor"])
def test_an_unknown_setting_of_a_source_is_named_with_its_file(
    command: str, job: Job, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job["data"]["init_args"]["train"].append({"path": "x.jsonl", "max_lenght": 8})
    line = refused(job, tmp_path, capsys, command=command)
    assert f"{tmp_path / 'config.yaml'}: data.train, item 2: a source has no setting 'max_lenght'; did you mean" in line
    del job["data"]["init_args"]["train"][1]
    line = refused(job, tmp_path, capsys, "--data.init_args.test", "{paht: x.jsonl}", command=command)
    assert "error: --data.init_args.test: a source has no setting 'paht'; did you mean path? it has path, " in line


@pytest.mark.parametrize("more", [[], ["--trainer.max_steps", "2"]])
def test_an_option_without_a_value_is_named(
    more: list[str], job: Job, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        refused(job, tmp_path, capsys, "--data.train", *more)
        == "error: --data.train: expected a value after it, got none"
    )


@pytest.mark.parametrize("monitor", ["train/loss", "train/distill"])
def test_the_best_by_a_loss_is_the_one_of_its_least_value(
    monitor: str, job: Job, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    run(job, tmp_path, "--checkpoint.monitor", monitor, "--report.enabled", "false")
    assert f"{monitor} is better the lower it is" in capsys.readouterr().err
    callbacks = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)["callbacks"]
    (key,) = [key for key in callbacks if monitor in key]
    assert "'mode': 'min'" in key


def test_a_trainer_made_by_hand_takes_the_least_loss_too() -> None:
    best = trainer_defaults("runs/x", monitor="train/loss")["callbacks"][-2]
    assert best.mode == "min" and trainer_defaults("runs/x", monitor="val/score")["callbacks"][-2].mode == "max"


@pytest.mark.parametrize(
    "text",
    [
        "how do I read a file?,open it and read\nhow do I write one?,open it for writing\n",
        "red wine,rotwein aus dem Keller\nold house,altes Haus\n",
        "A man is playing.\nA woman sings.\n",
    ],
)
def test_a_csv_without_a_row_of_names_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "rows.csv").write_text(text)
    with pytest.raises(UserError, match=r"put a row of names above it, such as anchor.*columns: \{anchor: ") as error:
        EmbeddingDataModule(tmp_path / "rows.csv").rows("train")
    assert len(str(error.value).splitlines()) == 1


def test_names_of_columns_that_look_like_texts_are_taken_where_they_are_given(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("What is asked?,What is answered?\nw1,w2\n")
    columns = {"anchor": "What is asked?", "positive": "What is answered?"}
    (rows,) = EmbeddingDataModule(Source(tmp_path / "rows.csv", columns=columns)).rows("train")
    assert rows.take([0]) == {"anchor": ["w1"], "positive": ["w2"]}
    (tmp_path / "rows.jsonl").write_text(json.dumps({"What is asked?": "w1", "What is answered?": "w2"}))
    (rows,) = EmbeddingDataModule(tmp_path / "rows.jsonl").rows("train")  # in JSON a name is a name
    assert rows.take([0]) == {"anchor": ["w1"], "positive": ["w2"]}


def test_a_hub_that_does_not_answer_is_not_asked_again(
    monkeypatch: pytest.MonkeyPatch, job: Job, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from huggingface_hub import constants

    def waits(seconds: float) -> None:
        raise AssertionError(f"waits for {seconds} s")

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", waits)
    job["data"]["init_args"]["train"] = "some-org/some-pairs"
    line = refused(job, tmp_path, capsys)
    assert "could not be fetched from the Hugging Face hub (it does not answer: " in line
    assert constants.HF_HUB_OFFLINE is False
