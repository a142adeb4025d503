"""Checkpoints that are cut short, and those that are sharded, as the commands meet them."""

import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from lightning_embed.checkpoints.integrity import flaw, newest_whole
from lightning_embed.checkpoints.student import load_student, read_checkpoint
from lightning_embed.distributed.sharded_checkpoint import OPTIMIZER, WEIGHTS, save
from lightning_embed.errors import UserError
from lightning_embed.utils.atomic import save_whole
from tests.cli.test_fit import ROOT, config, run, start

TEXTS = ["w1 w2", "w3 w4 w5 w6", "w7"]


@pytest.fixture(scope="module")
def trained(teacher: Path, student: Path, pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of four steps, with its job as job.yaml."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    job = config(teacher, student, pairs, folder)
    folder.mkdir()
    (folder / "job.yaml").write_text(yaml.safe_dump(job))
    run(job, folder.parent, "--report.enabled", "false")
    return folder


@pytest.fixture
def home(trained: Path, tmp_path: Path) -> Path:
    """A copy of its checkpoints, beside the run's configuration: best.ckpt is older than last.ckpt."""
    made = tmp_path / "run/checkpoints"
    shutil.copytree(trained / "checkpoints", made)
    shutil.copy(trained / "config.yaml", made.parent / "config.yaml")
    shutil.copy(made / "last.ckpt", made / "best.ckpt")
    os.utime(made / "best.ckpt", (1, 1))
    return made


def as_folder(file: Path) -> Path:
    """A checkpoint's file made into a sharded folder."""
    content: dict[str, Any] = torch.load(file, weights_only=True)
    tensors = {WEIGHTS + name: value for name, value in content.pop("state_dict").items()}
    (optimizer,) = content.pop("optimizer_states")
    for name, state in optimizer["state"].items():
        tensors |= {f"{OPTIMIZER.format(0)}{name}.{key}": value for key, value in state.items()}
    save(file, tensors, content | {"optimizer_states": [{"param_groups": optimizer["param_groups"]}]})
    return file


def job_of(trained: Path, home: Path) -> dict[str, Any]:
    job = yaml.safe_load((trained / "job.yaml").read_text())
    job["trainer"]["default_root_dir"] = str(home.parent)
    return job


def tool(tmp_path: Path, *words: object) -> None:
    from lightning_embed.__main__ import main

    (tmp_path / "texts.txt").write_text("\n".join(TEXTS))
    more = ["--texts", str(tmp_path / "texts.txt")] if words[0] == "export" else []
    main([*map(str, words), *more])


def said(capsys: pytest.CaptureFixture[str], stop: pytest.ExceptionInfo[SystemExit]) -> str:
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert stop.value.code == 2 and len(errors) == 1
    return errors[0]


def cut(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def test_every_way_to_cut_a_checkpoint_short_is_found(home: Path) -> None:
    file = home / "last.ckpt"
    size = file.stat().st_size
    for left in (0, 1, size // 3, size - 1):
        shutil.copy(home / "best.ckpt", file)
        os.truncate(file, left)
        assert flaw(file) is not None
    shutil.copy(home / "best.ckpt", file)
    assert flaw(file) is None
    folder = as_folder(file)
    assert flaw(folder) is None
    (shard,) = (path.name for path in folder.glob("*.distcp"))
    for broken, expected in (
        (lambda: (folder / ".metadata").unlink(), ".metadata is missing"),
        (lambda: (folder / "meta.pt").unlink(), "meta.pt is missing"),
        (lambda: (folder / shard).unlink(), f"its shard {shard} is missing"),
        (lambda: cut(folder / shard), f"its shard {shard} has"),
        (lambda: cut(folder / ".metadata"), "it cannot be read"),
        (lambda: cut(folder / "meta.pt"), "it cannot be read"),
    ):
        kept = folder.with_name("kept")
        shutil.copytree(folder, kept)
        broken()
        assert expected in str(flaw(folder))
        shutil.rmtree(folder)
        kept.rename(folder)


def test_the_newest_whole_checkpoint_is_offered(home: Path) -> None:
    shutil.copy(home / "best.ckpt", home / "earlier.ckpt")
    shutil.copy(home / "best.ckpt", home / "newer-but-torn.ckpt")
    cut(home / "newer-but-torn.ckpt")
    assert newest_whole(home, home / "last.ckpt") == home / "earlier.ckpt"
    cut(home / "earlier.ckpt")
    assert newest_whole(home, home / "last.ckpt") == home / "best.ckpt"
    assert newest_whole(home, home / "best.ckpt") == home / "last.ckpt"


@pytest.mark.parametrize(
    ("command", "sharded"),
    [(one, False) for one in ("fit", "fit last", "test", "predict", "export", "evaluate", "average")]
    + [("fit", True), ("export", True)],
)
def test_each_command_refuses_a_checkpoint_cut_short_and_names_the_one_before(
    command: str, sharded: bool, trained: Path, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    last, best = home / "last.ckpt", home / "best.ckpt"
    cut(as_folder(last) / "__0_0.distcp" if sharded else last)
    words = {
        "export": ("export", last, tmp_path / "out"),
        "evaluate": ("evaluate", last, "--tasks", "STSBenchmark", "--output", tmp_path / "scores"),
        "average": ("average", best, last, "--out", tmp_path / "out.ckpt"),
    }.get(command)
    with pytest.raises(SystemExit) as stop:
        if words is None:
            name, *by_name = command.split()
            run(job_of(trained, home), tmp_path, "--ckpt_path", *(by_name or [str(last)]), command=name)
        else:
            tool(tmp_path, *words)
    error = said(capsys, stop)
    assert f"{last}: not a checkpoint that can be read" in error and f"take {best}, the newest whole one" in error


def test_a_checkpoint_without_a_whole_one_beside_it_says_so(home: Path) -> None:
    (home / "best.ckpt").unlink()
    cut(home / "last.ckpt")
    with pytest.raises(UserError, match="its folder holds no whole one"):
        read_checkpoint(home / "last.ckpt")
    with pytest.raises(UserError, match=r"none.ckpt: no such checkpoint$"):
        read_checkpoint(home / "none.ckpt")


def test_a_sharded_checkpoint_is_read_in_one_process_by_every_command(
    trained: Path, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, folder = home / "best.ckpt", as_folder(home / "last.ckpt")
    one, two = read_checkpoint(file)["state_dict"], read_checkpoint(folder)["state_dict"]
    assert set(one) == set(two) and all(torch.equal(one[key], two[key]) for key in one)
    tool(tmp_path, "export", folder, tmp_path / "model")
    tool(tmp_path, "average", file, folder, "--out", tmp_path / "mean.ckpt")
    mean = torch.load(tmp_path / "mean.ckpt", weights_only=True)["state_dict"]
    assert all(torch.equal(one[key], mean[key]) for key in one)
    assert "--config_of_checkpoint" not in capsys.readouterr().out  # the average holds the student's settings itself
    job = job_of(trained, home)
    job["data"]["init_args"]["predict"] = job["data"]["init_args"]["test"]
    vectors = tmp_path / "v.npy"
    run(job, tmp_path, "--ckpt_path", str(folder), "--output.path", str(vectors), command="predict")
    run(job, tmp_path, "--ckpt_path", str(folder), command="test")
    assert "test/ndcg@10" in capsys.readouterr().out
    lines = Path(job["data"]["init_args"]["test"][0]["path"]).read_text().splitlines()
    rows = [json.loads(line)["anchor"] for line in lines]
    expected = load_student(file, home.parent / "config.yaml").encode(rows, "query").numpy()
    assert np.abs(np.load(vectors) - expected).max() < 1e-5


class _Evil:
    def __reduce__(self) -> Any:
        return os.system, ("touch /tmp/lightning_embed_was_here",)


def test_pickled_code_in_a_sharded_checkpoint_is_not_run(home: Path) -> None:
    folder = as_folder(home / "last.ckpt")
    (folder / ".metadata").write_bytes(pickle.dumps(_Evil()))
    with pytest.raises(UserError, match=r"system is not allowed in it"):
        read_checkpoint(folder)
    assert not Path("/tmp/lightning_embed_was_here").exists()


def test_a_file_is_saved_whole_or_stays_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "a.ckpt"
    save_whole({"state_dict": {"a": torch.zeros(3)}}, file)
    code = (
        "import os, torch; from pathlib import Path; from lightning_embed.utils.atomic import save_whole\n"
        "os.replace = lambda *names: os.kill(os.getpid(), 9)\n"
        f"save_whole({{'state_dict': {{'a': torch.ones(3)}}}}, Path({str(file)!r}))"
    )
    killed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True)
    assert killed.returncode == -9
    assert torch.load(file, weights_only=True)["state_dict"]["a"].sum() == 0
    save_whole({"state_dict": {"a": torch.ones(3)}}, file)  # over what the killed process left
    assert torch.load(file, weights_only=True)["state_dict"]["a"].sum() == 3
    with pytest.raises(RuntimeError if os.name == "nt" else Exception):
        save_whole({"state_dict": lambda: None}, file)
    assert [path.name for path in tmp_path.iterdir()] == ["a.ckpt"]


@pytest.mark.slow
def test_two_ranks_that_shard_end_with_the_average_too_and_export_reads_their_folders(
    teacher: Path, student: Path, pairs: Path, tmp_path: Path
) -> None:
    job = config(teacher, student, pairs, tmp_path / "run") | {"average": {"earlier": 2}}
    sharded = {"class_path": "lightning_embed.training.fsdp2.FSDP2", "init_args": {"save_distributed_checkpoint": True}}
    job["trainer"] |= {"devices": 2, "strategy": sharded}
    process = start(job, tmp_path)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output[-3000:]
    home = tmp_path / "run/checkpoints"
    assert len(list((home / "averaged.ckpt").glob("*.distcp"))) == 2
    earlier, last, averaged = (
        read_checkpoint(home / f"{name}.ckpt")["state_dict"] for name in ("earlier", "last", "averaged")
    )
    for key, value in averaged.items():
        torch.testing.assert_close(value, (earlier[key] + last[key]) / 2)
    tool(tmp_path, "export", home / "averaged.ckpt", tmp_path / "model")
