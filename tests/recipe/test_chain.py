"""What a chain's file says, and what becomes of its stages; `fit` is played by a script, so that this takes no time."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from lightning_embed.__main__ import main
from lightning_embed.recipe import Stage, stages
from lightning_embed.recipe.chain import jobs

ROOT = Path(__file__).resolve().parents[2]
FIT = """
import json, os, sys, time, yaml
from pathlib import Path
settings = yaml.safe_load(open(sys.argv[sys.argv.index("--config") + 1]))
folder = Path(settings["trainer"]["default_root_dir"])
with open(folder.parent / "fits.txt", "a") as told:
    told.write(f"{folder.name} {'goes on' if '--ckpt_path' in sys.argv else 'starts'}\\n")
(folder / "checkpoints").mkdir(exist_ok=True)
(folder / "checkpoints" / "last.ckpt").write_text("a checkpoint")
mood = folder.parent / f"{folder.name}.mood"
if mood.exists():
    said = mood.read_text()
    mood.unlink()
    if said == "wait":
        time.sleep(60)
    if said == "stop":
        sys.exit(143)
    print("error: " + said)
    sys.exit(2)
(folder / "model").mkdir(exist_ok=True)
(folder / "model" / "modules.json").write_text("[]")
"""


@pytest.fixture
def fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    script = tmp_path / "fit.py"
    script.write_text(FIT)
    monkeypatch.setattr(stages, "FIT", [sys.executable, str(script)])
    monkeypatch.setattr(stages, "POLL", 0.02)
    return [sys.executable, str(script)]


@pytest.fixture
def chain(tmp_path: Path, fit: list[str]) -> Path:
    (tmp_path / "data").mkdir()
    settings = {"model": {"student": {"model": "$student"}}, "trainer": {"max_steps": 100}}
    (tmp_path / "one.yaml").write_text(yaml.safe_dump(settings))
    settings = {"model": {"student": {"model": "$after/model", "layers": "$layers"}}, "trainer": {"max_steps": 40}}
    (tmp_path / "two.yaml").write_text(yaml.safe_dump(settings))
    stages = [
        {"name": "one", "config": "one.yaml"},
        {"name": "middle", "config": "two.yaml", "after": "one"},
        {"name": "two", "config": "two.yaml", "after": "middle"},
    ]
    settings = {"folder": str(tmp_path / "run"), "data": str(tmp_path / "data"), "stages": stages}
    file = tmp_path / "chain.yaml"
    file.write_text(yaml.safe_dump(settings | {"values": {"student": "toy", "layers": [0, 2]}}))
    return file


def edit(file: Path, **changes: object) -> None:
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | changes))


def fits(file: Path) -> list[str]:
    told = file.parent / "run" / "fits.txt"
    return told.read_text().splitlines() if told.exists() else []


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as stop:
        main(["recipe", *words])
    assert stop.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.startswith("error: ") for line in lines].count(True) == 1
    return next(line for line in lines if line.startswith("error: "))


def test_each_stage_is_trained_once_in_order_and_then_skipped(chain: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["recipe", str(chain)])
    assert fits(chain) == ["one starts", "middle starts", "two starts"]
    capsys.readouterr()
    main(["recipe", str(chain)])
    assert len(fits(chain)) == 3
    assert capsys.readouterr().out.count("done before") == 3


def test_a_stage_is_configured_with_its_predecessor_the_values_and_the_factor(chain: Path) -> None:
    main(["recipe", str(chain), "--steps", "0.1", "--shared", "{trainer: {devices: 2}}"])
    made = yaml.safe_load((chain.parent / "run/two/stage.yaml").read_text())
    assert made["model"]["student"] == {"model": str(chain.parent / "run/middle/model"), "layers": [0, 2]}
    assert made["trainer"] == {"devices": 2, "max_steps": 4, "default_root_dir": str(chain.parent / "run/two")}


def test_a_stage_made_in_python_names_its_configuration_by_any_path(chain: Path) -> None:
    for config in (chain.parent / "one.yaml", str(chain.parent / "one.yaml")):
        (job,) = jobs([Stage("one", config)], chain.parent, chain.parent, "", values={"student": "base"})
        assert job.settings["model"]["student"]["model"] == "base" and job.steps == 100


def test_a_stages_own_settings_count_more_than_its_configuration(chain: Path) -> None:
    stages = yaml.safe_load(chain.read_text())["stages"]
    again = {"name": "again", "config": "two.yaml", "after": "middle", "settings": {"trainer": {"max_steps": 30}}}
    edit(chain, stages=[*stages, again])
    main(["recipe", str(chain), "--steps", "0.5"])
    steps = {
        name: yaml.safe_load((chain.parent / f"run/{name}/stage.yaml").read_text())["trainer"]["max_steps"]
        for name in ("two", "again")
    }
    assert steps == {"two": 20, "again": 15}


def test_a_skipped_stage_hands_on_what_it_would_have_started_from(chain: Path) -> None:
    stages = yaml.safe_load(chain.read_text())["stages"]
    stages[1]["skip"] = True
    edit(chain, stages=stages)
    main(["recipe", str(chain)])
    made = yaml.safe_load((chain.parent / "run/two/stage.yaml").read_text())
    assert fits(chain) == ["one starts", "two starts"]
    assert made["model"]["student"]["model"] == str(chain.parent / "run/one/model")


def test_a_failed_stage_says_what_fit_said_and_goes_on_from_its_checkpoint(
    chain: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (chain.parent / "run").mkdir()
    (chain.parent / "run/middle.mood").write_text("no such folder")
    error = refused(capsys, str(chain))
    assert error.startswith("error: stage 'middle': no such folder (its output: ")
    main(["recipe", str(chain)])
    assert fits(chain) == ["one starts", "middle starts", "middle goes on", "two starts"]


def test_a_stage_whose_predecessor_is_not_trained_is_refused(chain: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "stage 'middle' starts from 'one', which is not trained" in refused(capsys, str(chain), "--only", "[middle]")
    assert fits(chain) == []
    main(["recipe", str(chain), "--only", "[one]"])
    (chain.parent / "run/one/model/modules.json").unlink()
    assert "is not trained" in refused(capsys, str(chain), "--only", "[middle]")


def test_changed_settings_are_told_and_refused_and_with_redo_the_old_stage_is_moved_aside(
    chain: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["recipe", str(chain)])
    settings = yaml.safe_load((chain.parent / "two.yaml").read_text())
    settings["trainer"]["max_steps"] = 80
    (chain.parent / "two.yaml").write_text(yaml.safe_dump(settings))
    error = refused(capsys, str(chain))
    assert "stage 'middle'" in error and "trainer.max_steps 40 -> 80" in error and "--redo" in error
    assert len(fits(chain)) == 3
    main(["recipe", str(chain), "--redo", "true"])
    assert fits(chain)[3:] == ["middle starts", "two starts"]
    assert (chain.parent / "run/middle-replaced-1/model/modules.json").exists()
    assert (chain.parent / "run/two-replaced-1").exists() and not (chain.parent / "run/one-replaced-1").exists()


def test_what_was_built_on_a_changed_stage_counts_as_changed(chain: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["recipe", str(chain)])
    edit(chain, values={"student": "other", "layers": [0, 2]})
    assert "stage 'one'" in refused(capsys, str(chain))
    assert "stage 'one'" in refused(capsys, str(chain), "--only", "[two]", "--redo", "true")


def test_a_moved_folder_is_still_done(chain: Path) -> None:
    main(["recipe", str(chain)])
    (chain.parent / "run").rename(chain.parent / "elsewhere")
    main(["recipe", str(chain), "--folder", str(chain.parent / "elsewhere")])
    assert len((chain.parent / "elsewhere/fits.txt").read_text().splitlines()) == 3


@pytest.mark.parametrize(
    ("stages", "said"),
    [
        ([{"name": "a", "config": "one.yaml", "after": "b"}, {"name": "b", "config": "one.yaml"}], "comes later"),
        ([{"name": "a", "config": "one.yaml", "after": "x"}], "which is not there"),
        ([{"name": "a", "config": "one.yaml"}, {"name": "a", "config": "one.yaml"}], "two are called 'a'"),
        ([{"name": "a/b", "config": "one.yaml"}], "cannot be a stage's name"),
        ([{"name": "a", "config": "two.yaml"}], "has $after, but the chain says no `after`"),
        ([{"name": "a", "config": "none.yaml"}], "none.yaml"),
        ([{"name": "a", "config": "one.yaml", "skip": True}], "at least one is needed"),
    ],
)
def test_a_wrong_chain_is_one_line(chain: Path, stages: list, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    edit(chain, stages=stages)
    assert said in refused(capsys, str(chain))
    assert fits(chain) == []


def test_a_name_that_stands_for_nothing_is_told(chain: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit(chain, values={"layers": [0, 2]})
    assert "'$student' has a name without a value" in refused(capsys, str(chain))


def started(chain: Path, fit: list[str]) -> "subprocess.Popen[bytes]":
    """The command in a process group of its own, whose first stage waits."""
    (chain.parent / "run").mkdir(exist_ok=True)
    (chain.parent / "run/one.mood").write_text("wait")
    code = (
        f"from lightning_embed.recipe import stages; stages.FIT = {fit!r}; "
        f"from lightning_embed.__main__ import main; main(['recipe', {str(chain)!r}])"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, start_new_session=True, stderr=subprocess.PIPE)
    while not (chain.parent / "run/one/checkpoints/last.ckpt").exists():
        assert process.poll() is None
        time.sleep(0.05)
    return process


def test_a_killed_chain_goes_on_inside_its_stage(chain: Path, fit: list[str]) -> None:
    process = started(chain, fit)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    main(["recipe", str(chain)])
    assert fits(chain) == ["one starts", "one goes on", "middle starts", "two starts"]
    assert json.loads((chain.parent / "run/one/done.json").read_text())["outcome"]["stops"] == 1


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_to_the_chain_alone_reaches_its_fit(
    number: int, code: int, chain: Path, fit: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    process = started(chain, fit)
    process.send_signal(number)
    _, said = process.communicate(timeout=50)  # the fit would wait for 60 seconds
    assert process.returncode == code and b"the same command resumes" in said
    main(["recipe", str(chain)])
    assert fits(chain) == ["one starts", "one goes on", "middle starts", "two starts"]


def test_a_fit_that_was_stopped_alone_is_told(chain: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (chain.parent / "run").mkdir()
    (chain.parent / "run/one.mood").write_text("stop")
    assert "its fit was stopped by SIGTERM" in refused(capsys, str(chain))


@pytest.mark.slow
def test_a_stage_that_outlives_its_killed_chain_is_not_trained_by_a_second_one(
    chain: Path, fit: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    process = started(chain, fit)
    process.kill()
    process.wait()
    assert "another process is training" in refused(capsys, str(chain))
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
