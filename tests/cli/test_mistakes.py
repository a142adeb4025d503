"""What users write by mistake, and the line that they get: where it is, what is near it, and what to write."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from torch.utils.data import DataLoader

from lightning_embed.cli import names
from lightning_embed.cli.parser import error_line
from lightning_embed.cli.words import written_out
from lightning_embed.losses import __all__ as losses
from tests import commands
from tests.cli.test_fit import config, run
from tests.cli.test_fit import losses as logged

ROOT = Path(__file__).resolve().parents[2]
STUDENT = "model.init_args.student"
NCE = "model.init_args.losses.nce"
TEMPRATURE = {"class_path": "InfoNCE", "init_args": {"temprature": 0.1}}
LINEAR = {"num_warmup_steps": 1, "num_training_steps": 3}
SCHEDULE = {"class_path": "transformers.get_linear_schedule_with_warmup", "init_args": LINEAR}
OPTIMIZER = "model.init_args.optimizer"
LR_SCHEDULER = "model.init_args.lr_scheduler"
MISTAKES: list[tuple[str, Any, str]] = [
    (f"{NCE}.loss", TEMPRATURE, "init_args.temprature: there is no such setting; did you mean temperature?"),
    (f"{NCE}.loss", "InfoNC", "there is no loss 'InfoNC'; did you mean InfoNCE?"),
    (f"{NCE}.loss", "MultipleNegativesRankingLoss", "no loss 'MultipleNegativesRankingLoss'; here: InfoNCE;"),
    (f"{NCE}.weight", "high", "expected a number or a mapping, got 'high'"),
    (NCE, 1.0, "expected a loss, such as Distillation or {loss: Distillation, weight: 2.0}, got 1.0"),
    ("model.init_args.losses", ["InfoNCE"], "expected a mapping of names to a loss, such as Distillation"),
    (f"{STUDENT}.max_seq_length", 64, "did you mean max_length? known are model, pooling,"),
    (f"{STUDENT}.adapter", {"r": 8}, "did you mean rank? known are rank, alpha, dropout, targets"),
    (
        f"{STUDENT}.pooling",
        "average",
        "expected one of last_token, mean, cls or null, got 'average'; did you mean mean?",
    ),
    (f"{STUDENT}.max_length", "long", "expected a whole number or null, got 'long'"),
    (OPTIMIZER, {"name": "Adam", "lr": 0.5}, "expected {class_path: Adam, init_args: {lr: 0.5}}, got {lr: 0.5, name"),
    (f"{OPTIMIZER}.init_args.learning_rate", 0.1, "did you mean lr?"),
    (LR_SCHEDULER, {"warmup_steps": 9}, "expected {class_path: WarmupSchedule, init_args: {warmup_steps: 9}}, got"),
    (
        LR_SCHEDULER,
        SCHEDULE,
        "is a function, expected a subclass of LRScheduler or ReduceLROnPlateau; e.g. {class_path",
    ),
    ("model.init_args.learning_rate", 0.1, "it is model.init_args.optimizer.init_args.lr"),
    (
        "model.class_path",
        "lightning.pytorch.demos.boring_classes.BoringModel",
        "expected a subclass of EmbeddingModule",
    ),
    ("model.losses", {"gor": "GOR"}, "model.losses: it belongs under init_args, beside class_path"),
    ("data.class_path", "torch.nn.Linear", "is another class, expected a subclass of LightningDataModule"),
    ("data.init_args.batch_size", 8, "did you mean global_batch_size?"),
    ("data.init_args.mixture", "sizes", "expected one of size, weight, temperature, round_robin, got 'sizes'"),
    ("trainer.epochs", 3, "did you mean max_epochs?"),
    ("trainer.max_steps", "all", "expected a whole number, got 'all'"),
    ("trainer.precision", "fp16", "got 'fp16'; did you mean 16-mixed?"),
    ("trainer.logger", "wandb", "there is no Logger 'wandb'; did you mean WandbLogger?"),
    ("trainer.callbacks", [{"class_path": "EarlyStopping"}], "item 1: EarlyStopping needs monitor, which is not given"),
    ("max_steps", 3, "max_steps: there is no such setting here; it is trainer.max_steps"),
]


@pytest.fixture
def job(teacher: Path, student: Path, pairs: Path, tmp_path: Path) -> dict[str, Any]:
    made = config(teacher, student, pairs, tmp_path / "run")
    made["model"]["init_args"]["losses"]["nce"] = {"loss": "InfoNCE"}
    made["trainer"] |= {"max_steps": 1, "enable_model_summary": False}
    return made | {"report": {"enabled": False}}


def put(settings: dict[str, Any], path: str, value: Any) -> None:
    *above, last = path.split(".")
    for name in above:
        settings = settings.setdefault(name, {})
    settings[last] = value


def line_of(call: Callable[[], None], capsys: pytest.CaptureFixture[str]) -> str:
    """The only line on standard error of a command that ends with code 2."""
    with pytest.raises(SystemExit) as stop:
        call()
    assert stop.value.code == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
    assert line.startswith("error: ")
    return line


@pytest.mark.parametrize(("path", "value", "line"), MISTAKES, ids=[f"{path}={str(v)[:24]}" for path, v, _ in MISTAKES])
def test_a_mistake_in_a_file_is_named_with_what_to_write(
    path: str, value: Any, line: str, job: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(job, path, value)
    said = line_of(lambda: run(job, tmp_path), capsys)
    assert line in said and (str(tmp_path / "config.yaml") in said or "needs" in said)


@pytest.mark.parametrize(
    ("option", "value", "line"),
    [
        ("--model.losses.nce.loss.temprature", "0.1", "did you mean temperature?"),
        ("--model.student.pooling", "average", "--model.student.pooling: expected one of last_token, mean, cls"),
        ("--lr", "0.1", "--lr: there is no such setting here; it is model.init_args.optimizer.init_args.lr"),
        ("--train", "a.jsonl", "--train: there is no such setting here; it is data.init_args.train"),
        ("--config", "nowhere.yaml", "nowhere.yaml: there is no such file"),
    ],
)
@pytest.mark.parametrize("command", ["fit", "doctor", "cache"])
def test_a_mistake_on_the_command_line_is_named(
    command: str, option: str, value: str, line: str, job: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    assert line in line_of(lambda: run(job, tmp_path, option, value, command=command), capsys)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("model:\n\tlosses: {}", ", line 2, column 1: it is not YAML"),
        ("", "expected a configuration (model, data, trainer), got nothing"),
        ("- 1", "expected a configuration (model, data, trainer), got a list"),
    ],
)
def test_a_file_that_is_no_configuration_is_named(
    text: str, line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(text)
    said = line_of(lambda: commands.run_words("fit", "--config", str(file)), capsys)
    assert str(file) in said and line in said


def test_encoders_as_paths_and_losses_as_classes_are_enough(job: dict[str, Any], tmp_path: Path) -> None:
    arguments = job["model"]["init_args"]
    arguments |= {name: arguments[name]["model"] for name in ("student", "teacher")}
    arguments["losses"] = {"distill": "Distillation", "gor": {"class_path": "GOR", "weight": 0.5}}
    run(job, tmp_path, "--model.losses.nce", "InfoNCE")
    assert len(logged(tmp_path / "run")) == 1
    written = yaml.safe_load((tmp_path / "run/config.yaml").read_text())["model"]["init_args"]["losses"]
    assert {name: term["init_args"]["weight"] for name, term in written.items()} == {"distill": 1, "gor": 0.5, "nce": 1}


def test_short_forms_leave_what_is_written_out_already() -> None:
    full = {
        "model": {
            "init_args": {"student": {"model": "s"}, "teacher": "StoredTeacher", "losses": {"a": {"loss": "GOR"}}}
        }
    }
    assert written_out(full) == full
    assert written_out({"model": {"student": "student.yaml"}}) == {"model": {"student": "student.yaml"}}
    assert written_out({"trainer": 3}) == {"trainer": 3} and written_out([1]) == [1]


def test_losses_of_sentence_transformers_in_the_docs_are_known_by_name() -> None:
    text = (ROOT / "docs/losses.md").read_text()
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", text, flags=re.S | re.M))
    found = {
        (other, name)
        for name, body in sections.items()
        for other in re.findall(r"In sentence-transformers:\s`(\w+)`", body)
    }
    assert len(found) > 5
    assert {other: names.here(other, losses, names.LOSSES) for other, _ in found} == dict(found)


class LostConnection:
    """Stands in for the queue of a data loader whose worker has just been killed while a batch was being fetched."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def get(self, timeout: float) -> Any:
        raise self.error


@pytest.mark.parametrize(
    "error", [ConnectionResetError(104, "Connection reset by peer"), EOFError(), FileNotFoundError(2, "No such file")]
)
def test_a_batch_lost_with_its_worker_process_is_the_same_line(error: Exception) -> None:
    batches = iter(DataLoader([1, 2, 3], num_workers=1))  # type: ignore[arg-type]
    next(batches)
    batches._data_queue = LostConnection(error)  # type: ignore[attr-defined]
    with pytest.raises(type(error)) as raised:
        next(batches)
    assert str(error_line(raised.value)).startswith("a data loader's worker process died")
    assert "worker" not in str(error_line(type(error)(104, "Connection reset by peer")))
