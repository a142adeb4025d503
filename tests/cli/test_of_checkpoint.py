"""`validate`, `test` and `predict` take the model from the checkpoint and the data from its run; `fit` alone writes config.yaml."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import numpy as np
import pytest
import torch
import yaml

from lightning_embed.checkpoints.settings import KEY
from lightning_embed.checkpoints.student import load_student
from tests.cli.test_fit import config, run
from tests.commands import run_words
from tests.toys import toy_pairs


@pytest.fixture(scope="module")
def trained(teacher: Path, student: Path, pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run with a logger of the user's own, models unlike the default job's and a student unlike its folder."""
    folder = tmp_path_factory.mktemp("trained")
    job = config(teacher, student, pairs, folder / "run") | {"report": {"enabled": False}}
    job["model"]["init_args"]["student"] |= {"pooling": "cls", "dim": 24, "prompts": {"query": "w5 "}}
    job["model"]["init_args"]["lr_scheduler"] = {"class_path": "WarmupSchedule", "init_args": {"warmup_steps": 2}}
    own = {"class_path": "lightning.pytorch.loggers.CSVLogger", "init_args": {"save_dir": str(folder / "elsewhere")}}
    job["trainer"]["logger"] = own
    run(job, folder)
    return folder / "run"


@pytest.fixture
def last(trained: Path, tmp_path: Path) -> Path:
    """last.ckpt of a copy of the run."""
    return shutil.copytree(trained, tmp_path / "copy") / "checkpoints/last.ckpt"


QUIET = ("--trainer.enable_progress_bar", "false", "--trainer.accelerator", "cpu")


def scores(printed: str) -> list[float]:
    """The values of a table that Lightning prints."""
    return [float(value) for value in re.findall(r"/(?:ndcg|mrr|recall)@\d+\D+?(\d\.\d+)", printed)]


def errors(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    with pytest.raises(SystemExit) as stop:
        run_words(*words)
    assert stop.value.code == 2
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]


def data(path: Path | str, *splits: str) -> dict[str, Any]:
    sources = {split: [{"path": str(path)}] for split in splits}
    return {"data": {"class_path": "EmbeddingDataModule", "init_args": sources | {"num_workers": 0}}}


def test_fit_writes_its_configuration_into_the_runs_folder_whatever_the_logger(trained: Path) -> None:
    assert list(trained.glob("csv/**/metrics.csv")) and list(trained.parent.glob("elsewhere/**/metrics.csv"))
    (file,) = trained.parent.glob("*run*/**/config.yaml")
    found = yaml.safe_load(file.read_text())
    assert file == trained / "config.yaml" and found["model"]["init_args"]["student"]["init_args"]["pooling"] == "cls"
    assert found["checkpoint"]["dirpath"] is None  # a fit with it keeps its checkpoints in its own folder


def test_a_checkpoint_is_tested_without_a_configuration_as_with_its_runs(
    last: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_words("test", "--ckpt_path", str(last), *QUIET)
    alone = scores(capsys.readouterr().out)
    run_words("test", "--config", str(last.parents[1] / "config.yaml"), "--ckpt_path", str(last), *QUIET)
    assert len(alone) == 4 and alone == scores(capsys.readouterr().out)
    run_words("validate", f"--ckpt_path={last}", *QUIET)
    assert len(scores(capsys.readouterr().out)) == 4


def test_the_last_checkpoint_is_found_and_its_texts_are_embedded_as_the_student_does(
    last: Path, pairs: Path, tmp_path: Path
) -> None:
    source = json.dumps([{"path": str(pairs)}])
    words = ("--ckpt_path", "last", "--trainer.default_root_dir", str(last.parents[1]), "--output.path", "v.npy")
    words = (*words[:-1], str(tmp_path / "v.npy"), "--data.init_args.predict", source, *QUIET)
    run_words("predict", *words)
    texts = [row["anchor"] for row in toy_pairs(96)]
    assert np.abs(np.load(tmp_path / "v.npy") - load_student(last).encode(texts, "query").numpy()).max() < 1e-5


def test_a_test_with_other_settings_changes_neither_the_runs_configuration_nor_what_its_checkpoint_is(
    last: Path, teacher: Path, student: Path, pairs: Path, tmp_path: Path
) -> None:
    before = (last.parents[1] / "config.yaml").read_bytes()
    job = config(teacher, student, pairs, last.parents[1])
    job["model"]["init_args"]["student"] |= {"pooling": "mean", "dim": 24}
    run(job, tmp_path, "--ckpt_path", str(last), command="test")
    assert [file.read_bytes() for file in last.parents[1].rglob("config.yaml")] == [before]
    (last.parents[1] / "config.yaml").write_text(yaml.safe_dump(job))  # what an earlier version did
    assert load_student(last).pooling == "cls"


def test_a_section_of_a_configuration_replaces_that_of_the_run(
    last: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few, file = tmp_path / "few.jsonl", tmp_path / "data.yaml"
    few.write_text("".join(json.dumps(row) + "\n" for row in toy_pairs(3)))
    file.write_text(yaml.safe_dump(data(few, "test")))
    run_words("test", "--config", str(file), "--ckpt_path", str(last), *QUIET)
    assert scores(capsys.readouterr().out)[-1] == 1.0  # recall@10 of three
    (error,) = errors(capsys, "validate", "--config", str(file), "--ckpt_path", str(last), *QUIET)
    assert "`validate` needs data: give data.validation" in error


def test_without_a_runs_configuration_the_data_is_asked_for(
    last: Path, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alone = Path(shutil.copy(last, tmp_path / "alone.ckpt"))
    words = ("--ckpt_path", str(alone), "--trainer.default_root_dir", str(tmp_path / "new"), *QUIET)
    (error,) = errors(capsys, "test", *words)
    assert "`test` needs data: give data.test" in error
    run_words(
        "test", *words, "--data.init_args.test", json.dumps([{"path": str(pairs)}]), "--data.init_args.num_workers", "0"
    )
    assert len(scores(capsys.readouterr().out)) == 4


def test_a_checkpoint_of_an_earlier_version_takes_its_model_from_its_runs_configuration(
    last: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = torch.load(last, weights_only=True)
    del content[KEY]
    torch.save(content, last)
    run_words("test", "--ckpt_path", str(last), *QUIET)
    assert len(scores(capsys.readouterr().out)) == 4
    (last.parents[1] / "config.yaml").unlink()
    (error,) = errors(capsys, "test", "--ckpt_path", str(last), *QUIET)
    assert "an earlier version wrote it" in error and "give it with --config" in error


def test_an_argument_that_the_checkpoint_does_not_hold_is_asked_for(
    last: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = torch.load(last, weights_only=True)
    content[KEY]["missing"]["model"] = {"optimizer": "a function", "losses.distill.loss.by": "an object of class Own"}
    torch.save(content, last)
    (error,) = errors(capsys, "test", "--ckpt_path", str(last), *QUIET)
    assert "it does not hold losses.distill.loss.by (an object of class Own)" in error
    assert "--model.init_args.losses" in error
    run_words("test", "--ckpt_path", str(last), "--model.init_args.losses", "{distill: {loss: Distillation}}", *QUIET)


def test_a_checkpoint_that_names_another_kind_of_class_is_refused(
    last: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = torch.load(last, weights_only=True)
    content[KEY]["model"]["init_args"]["student"]["init_args"]["prompts"] = {"class_path": "os.system", "init_args": {}}
    torch.save(content, last)
    (error,) = errors(capsys, "test", "--ckpt_path", str(last), *QUIET)
    assert "class os.system: expected one of lightning_embed" in error


class Kinds(L.Callback):
    """Keeps the classes of a trainer's callbacks."""

    found: frozenset[str] = frozenset()

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        Kinds.found = frozenset(type(one).__name__ for one in trainer.callbacks)  # type: ignore[attr-defined]


def test_what_belongs_to_fit_is_ignored(last: Path, tmp_path: Path) -> None:
    config = yaml.safe_load((last.parents[1] / "config.yaml").read_text())
    config |= {"average": {"earlier": 2}, "last_checkpoint": {"every_n_steps": 3}, "report": {"enabled": True}}
    config["checkpoint"] = {"dirpath": str(tmp_path / "never"), "no_such": 1}
    config["trainer"]["callbacks"] = [{"class_path": f"{__name__}.Kinds"}]
    run(config, tmp_path, "--ckpt_path", str(last), command="test")
    assert "Kinds" in Kinds.found and not Kinds.found & {"Report", "AverageCheckpoints", "LastCheckpoint"}
    assert not (tmp_path / "never").exists()
