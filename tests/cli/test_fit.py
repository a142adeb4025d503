"""What a user types, and what they get back."""

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from tests import commands
from tests.forks import Command, free_port
from tests.toys import toy_folder, toy_pairs

Fit = Callable[..., Path]
ROOT = Path(__file__).resolve().parents[2]


def config(teacher: Path, student: Path, pairs: Path, run: Path) -> dict:
    data = [{"path": str(pairs)}]
    return {
        "model": {
            "class_path": "EmbeddingModule",
            "init_args": {
                "teacher": {"model": str(teacher)},
                "student": {"model": str(student), "dropout": 0.0},
                "projection": {},
                "losses": {"distill": {"loss": "Distillation", "weight": 1.0}},
                "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.01}},
            },
        },
        "data": {
            "class_path": "EmbeddingDataModule",
            "init_args": {"train": data, "validation": data, "test": data, "global_batch_size": 16, "num_workers": 0},
        },
        "trainer": {
            "max_steps": 4,
            "log_every_n_steps": 1,
            "default_root_dir": str(run),
            "enable_progress_bar": False,
            "accelerator": "cpu",
        },
    }


@pytest.fixture
def job(teacher: Path, student: Path, pairs: Path, tmp_path: Path) -> dict:
    return config(teacher, student, pairs, tmp_path / "run")


def run(settings: dict, tmp_path: Path, *words: str, command: str = "fit") -> None:
    commands.run(command, settings, tmp_path, *words)


def start(settings: dict, tmp_path: Path, *words: str) -> "subprocess.Popen[str]":
    """Runs fit in a process of its own, as a user does; it starts the other ranks."""
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(settings))
    return subprocess.Popen(
        [sys.executable, "-m", "lightning_embed", "fit", "--config", str(file), *words],
        cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def fork(settings: dict, tmp_path: Path, *words: str, before: Callable[[], None] | None = None) -> Command:
    """Runs fit on one device in a process of its own, without the seconds in which a new Python imports everything."""
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(settings))
    return Command(["fit", "--config", str(file), *words], ROOT, tmp_path / "output.txt", before)


def fork_ranks(settings: dict, tmp_path: Path, *words: str) -> list[Command]:
    """Runs fit on several ranks, each forked, as under torchrun; tests/distributed has those that the command starts itself."""
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(settings))
    trainer = settings["trainer"]
    where = {"LIGHTNING_EMBED_RUN": trainer["default_root_dir"], "MASTER_ADDR": "127.0.0.1"}
    where["MASTER_PORT"] = str(free_port())
    return [
        Command(
            ["fit", "--config", str(file), *words], ROOT, tmp_path / f"output{rank}.txt",
            environment=where | {"LOCAL_RANK": str(rank)},
        )
        for rank in range(trainer["devices"])
    ]  # fmt: skip


def losses(folder: Path) -> list[float]:
    """train/loss of each step, over all versions of the log."""
    import pandas

    parts = [pandas.read_csv(f) for f in sorted(folder.glob("csv/*/metrics.csv"))]
    table = pandas.concat(parts)
    return [float(v) for v in table["train/loss"].dropna()]


def refused(
    settings: dict, tmp_path: Path, capsys: pytest.CaptureFixture[str], *words: str, command: str = "fit"
) -> str:
    """The one line with which a job is refused."""
    with pytest.raises(SystemExit) as stop:
        run(settings, tmp_path, *words, command=command)
    assert stop.value.code == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    return lines[0]


def test_a_toy_student_learns_its_teacher_and_the_run_leaves_everything(job: dict, tmp_path: Path) -> None:
    job["trainer"]["max_steps"] = 60
    job["model"]["init_args"]["projection"] = {"start": "random"}  # far from the teacher
    run(job, tmp_path)
    folder = tmp_path / "run"
    assert np.mean(losses(folder)[-5:]) < 0.2 * losses(folder)[0]
    report = json.loads((folder / "report.json").read_text())
    assert [model["name"] for model in report["models"]] == ["teacher", "student before", "student after"]
    assert "gives the same vectors" in report["notes"][0]
    for name in ("report.md", "report.png", "training.png", "model/modules.json", "checkpoints/last.ckpt"):
        assert (folder / name).stat().st_size > 0
    assert not list(folder.glob(".*"))


def test_all_three_losses_in_bf16(job: dict, tmp_path: Path) -> None:
    nce = {"class_path": "InfoNCE", "init_args": {"learnable_temperature": True}}
    job["model"]["init_args"]["losses"] |= {
        "nce": {"loss": nce, "weight": 1},
        "gor": {"loss": "GOR", "weight": {0: 1.0, 2: 0.0}},
    }
    run(job, tmp_path, "--trainer.precision", "bf16-mixed", "--report.enabled", "false")
    assert len(losses(tmp_path / "run")) == 4


def test_every_loss_of_the_docs_trains_by_its_yaml(job: dict, tmp_path: Path) -> None:
    rows = [row | {"negative": ["w9 w8", "w7"], "score": [i / 32, 0.1, 0.0]} for i, row in enumerate(toy_pairs(32))]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    terms: dict = {}
    for block in re.findall(r"```yaml\n(\w+: \{loss.*?)```", (ROOT / "docs/losses.md").read_text(), flags=re.S):
        terms |= yaml.safe_load(block)
    terms["nested"]["loss"]["init_args"]["dims"] = [8, 32]
    job["model"]["init_args"]["losses"] = terms
    job["data"]["init_args"]["train"] = [{"path": str(file)}]
    schedule = {"stages": {0: {"nce": 0}, 1: {"nce": 1}}}
    job["trainer"]["callbacks"] = [
        {"class_path": "lightning_embed.callbacks.loss_schedule.LossSchedule", "init_args": schedule}
    ]
    run(job, tmp_path, "--report.enabled", "false", "--trainer.max_steps", "2")
    import pandas

    table = pandas.read_csv(tmp_path / "run/csv/version_0/metrics.csv").dropna(subset="train/loss")
    assert len(terms) == 13 and {f"train/{name}" for name in terms} <= set(table.columns)
    assert table["train/nce"].notna().tolist() == [False, True]


def test_the_frozen_teacher_is_in_no_checkpoint(job: dict, tmp_path: Path) -> None:
    import torch

    run(job, tmp_path, "--report.enabled", "false")
    state = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)
    assert not [key for key in state["state_dict"] if "teacher" in key]
    assert "projection.weight" in state["state_dict"]


def test_a_stopped_run_goes_on_as_if_never_stopped(job: dict, tmp_path: Path) -> None:
    job["trainer"]["max_steps"] = 10
    whole = job | {"trainer": job["trainer"] | {"default_root_dir": str(tmp_path / "whole")}}
    run(whole, tmp_path, "--report.enabled", "false")
    run(job, tmp_path, "--report.enabled", "false", "--trainer.max_steps", "4")
    run(job, tmp_path, "--report.enabled", "false", "--ckpt_path", "last")
    assert losses(tmp_path / "run") == pytest.approx(losses(tmp_path / "whole"), rel=1e-4)


def test_ctrl_c_leaves_a_checkpoint_to_go_on_from(job: dict, tmp_path: Path) -> None:
    job["trainer"]["max_steps"] = 100_000
    process = fork(job, tmp_path, "--report.enabled", "false")
    metrics = tmp_path / "run/csv/version_0/metrics.csv"
    deadline = time.time() + 120
    while not metrics.exists() and process.poll() is None and time.time() < deadline:
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode != 0 and "--ckpt_path last" in output and "Traceback" not in output
    done = len(losses(tmp_path / "run"))
    run(job, tmp_path, "--report.enabled", "false", "--ckpt_path", "last", "--trainer.max_steps", str(done + 3))
    assert len(losses(tmp_path / "run")) == done + 3


def test_two_ranks_give_the_losses_of_one(job: dict, tmp_path: Path) -> None:
    job["model"]["init_args"]["losses"]["nce"] = {"loss": "InfoNCE"}
    job["model"]["init_args"]["losses"]["gor"] = {"loss": "GOR"}
    alone = job | {"trainer": job["trainer"] | {"default_root_dir": str(tmp_path / "alone")}}
    run(alone, tmp_path, "--report.enabled", "false")
    job["trainer"] |= {"devices": 2, "strategy": "ddp"}
    for process in fork_ranks(job, tmp_path, "--report.export", "false"):
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0, output[-2000:]
    assert losses(tmp_path / "run") == pytest.approx(losses(tmp_path / "alone"), rel=1e-4)
    assert (tmp_path / "run/report.md").exists()


def test_test_and_predict_read_a_checkpoint(job: dict, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(job, tmp_path, "--report.enabled", "false")
    checkpoint = str(tmp_path / "run/checkpoints/last.ckpt")
    run(job, tmp_path, "--ckpt_path", checkpoint, command="test")
    run(job, tmp_path, "--ckpt_path", checkpoint, command="validate")
    assert "test/ndcg@10" in capsys.readouterr().out
    job["data"]["init_args"]["predict"] = job["data"]["init_args"]["test"]
    for name in ("v.parquet", "v.npy"):
        run(job, tmp_path, "--ckpt_path", checkpoint, "--output.path", str(tmp_path / name), command="predict")
    table, matrix = pq.read_table(tmp_path / "v.parquet"), np.load(tmp_path / "v.npy")
    assert table.column("row").to_pylist() == list(range(96)) and matrix.shape == (96, 32)
    assert np.linalg.norm(matrix, axis=1) == pytest.approx(1, abs=1e-5)


def test_the_examples_own_loss_and_module_train(job: dict, tmp_path: Path) -> None:
    job["model"]["class_path"] = "examples.custom_module.FrozenEmbeddings"
    job["model"]["init_args"]["losses"]["spread"] = {"loss": "examples.custom_loss.UnitLength", "weight": 0.1}
    run(job, tmp_path, "--report.enabled", "false")
    assert len(losses(tmp_path / "run")) == 4


def with_data(job: dict, tmp_path: Path, content: str) -> dict:
    file = tmp_path / "bad.jsonl"
    file.write_text(content)
    job["data"]["init_args"]["train"] = [{"path": str(file)}]
    return job


GOOD = json.dumps(toy_pairs(1)[0]) + "\n"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "bad.jsonl is empty"),
        (GOOD + "{broken\n", "bad.jsonl, line 2: expected a JSON object"),
        ('{"anchor": "w1", "positve": "w2"}\n', "the columns found are anchor, positve"),
        (GOOD + '{"anchor": " ", "positive": "w2"}\n', "bad.jsonl, line 2, column 'anchor': expected a text"),
    ],
    ids=["empty file", "no JSON", "missing role", "empty text"],
)
def test_bad_data_is_named_in_one_line(
    job: dict, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, said: str
) -> None:
    assert said in refused(with_data(job, tmp_path, content), tmp_path, capsys)


def test_a_missing_file_is_named(job: dict, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job["data"]["init_args"]["train"] = [{"path": str(tmp_path / "none.jsonl")}]
    assert "there is no file" in refused(job, tmp_path, capsys)


def test_an_unknown_loss_is_answered_with_the_known_ones(
    job: dict, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job["model"]["init_args"]["losses"] = {"nce": {"loss": "InfoNC"}}
    said = refused(job, tmp_path, capsys)
    assert "there is no loss 'InfoNC'" in said and "did you mean InfoNCE" in said and "Distillation" in said


def test_a_misspelt_argument_is_named(job: dict, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "max_stepz" in refused(job, tmp_path, capsys, "--trainer.max_stepz", "3")


def test_a_teacher_without_weights_is_named(job: dict, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bare = toy_folder(tmp_path / "bare")
    (bare / "model.safetensors").unlink()
    job["model"]["init_args"]["teacher"] = {"model": str(bare)}
    assert "weights were expected as *.safetensors" in refused(job, tmp_path, capsys)


def test_a_run_folder_that_cannot_be_made_is_named(
    job: dict, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    said = refused(job, tmp_path, capsys, "--trainer.default_root_dir", str(tmp_path / "file/run"))
    assert "cannot be written" in said


def small_files() -> None:
    """A file that may not grow stands in for a disk that is full."""
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))


@pytest.mark.slow
def test_a_full_disk_is_named_and_leaves_no_torn_checkpoint(job: dict, tmp_path: Path) -> None:
    process = fork(job, tmp_path, "--report.enabled", "false", before=small_files)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 2 and "error: File too large" in output and "Traceback" not in output, output[-2000:]
    assert not list(tmp_path.glob("run/checkpoints/*.ckpt"))


def test_the_example_for_own_data_trains_and_needs_no_validation(
    job: dict, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    example = yaml.safe_load((ROOT / "examples/own_data.yaml").read_text())
    example["trainer"] |= {"max_steps": 2, "default_root_dir": str(tmp_path / "run"), "enable_progress_bar": False}
    example["data"]["init_args"]["global_batch_size"] = 4
    run(example, tmp_path, "--data.init_args.train", f"[{{path: {pairs}}}]")
    assert (tmp_path / "run/model/modules.json").exists() and (tmp_path / "run/checkpoints/last.ckpt").exists()


def printed_config(capsys: pytest.CaptureFixture[str], *words: str) -> dict:
    """The model's settings that `fit --print_config` prints."""
    from lightning_embed.__main__ import main

    before = list(sys.argv)
    with pytest.raises(SystemExit) as stop:
        main(["fit", *words, "--print_config"])
    sys.argv = before
    assert stop.value.code == 0
    return yaml.safe_load(capsys.readouterr().out)["model"]["init_args"]


def test_print_config_shows_the_default_job(capsys: pytest.CaptureFixture[str]) -> None:
    assert set(printed_config(capsys)["losses"]) == {"distill", "nce", "gor"}


@pytest.mark.parametrize(
    "words",
    [
        ("--model.student.layers", "null", "--model.projection=null"),
        ("--model.init_args.student.init_args.layers", "null", "--model.init_args.projection", "null"),
    ],
)
def test_null_on_the_command_line_takes_a_setting_back(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    model = printed_config(capsys, *words)
    assert model["student"]["init_args"]["layers"] is None and model["projection"] is None
    assert model["student"]["init_args"]["max_length"] == 64 and set(model["losses"]) == {"distill", "nce", "gor"}


def test_a_loss_is_added_by_its_class_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    losses = printed_config(capsys, "--model.losses.more.class_path", "CoSENT")["losses"]
    assert losses["more"]["init_args"]["loss"]["class_path"] == "lightning_embed.CoSENT" and set(losses) > {"distill"}


def test_a_loss_that_is_not_finite_stops_with_its_name_and_rows(
    job: dict, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job["model"]["init_args"]["optimizer"]["init_args"]["lr"] = 1e30
    said = refused(job, tmp_path, capsys, "--report.enabled", "false")
    assert "the loss is not finite (distill = nan) on rows" in said and "source 'pairs'" in said


def test_a_text_over_the_limit_is_cut_counted_and_told_once(
    job: dict, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job["model"]["init_args"]["student"]["max_length"] = 4
    run(job, tmp_path)
    assert capsys.readouterr().err.count("are cut") == 1
    assert "pairs: 64 texts were longer than max_length 4 and cut" in (tmp_path / "run/report.md").read_text()


def test_help_and_version_answer_without_torch() -> None:
    code = "import sys; from lightning_embed.__main__ import main; main(['--help']); main(['--version']); assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "fit" in done.stdout


def test_an_unknown_command_is_answered_with_the_nearest() -> None:
    done = subprocess.run([sys.executable, "-m", "lightning_embed", "fti"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and "did you mean fit?" in done.stderr
