"""The average of checkpoints: as a function, as the end of a run, and as a command."""

import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from lightning_embed.checkpoints.averaging import average
from lightning_embed.encoders.text_encoder import TextEncoder
from lightning_embed.errors import UserError
from tests.cli.test_fit import config, losses, run, start


def states(file: Path) -> dict[str, torch.Tensor]:
    return torch.load(file, weights_only=True)["state_dict"]


def with_average(job: dict[str, Any], steps: int = 6, earlier: float | None = 0.5) -> dict[str, Any]:
    return job | {"average": {"earlier": earlier}, "trainer": job["trainer"] | {"max_steps": steps}}


def assert_same_run(one: Path, other: Path) -> None:
    """The averages and the optimizer's states of two runs are equal but for rounding.

    The bias of attention's keys adds the same number to all scores of a query, which softmax takes away again: its gradient is 0 in truth
    and rounding in fact, and Adam, which divides a gradient by its size, makes steps of the learning rate of it. So of these biases only
    the moments can be compared, which would differ too if a state had been lost.
    """
    weights, right = states(one / "averaged.ckpt"), states(other / "averaged.ckpt")
    assert weights.keys() == right.keys()
    for key, value in right.items():
        if not key.endswith(".key.bias"):
            torch.testing.assert_close(
                weights[key], value, rtol=1e-4, atol=1e-6, msg=lambda said, key=key: f"{key}: {said}"
            )
    moments, expected = (
        torch.load(home / "last.ckpt", weights_only=True)["optimizer_states"][0]["state"] for home in (one, other)
    )
    assert moments.keys() == expected.keys()
    for number, state in expected.items():
        assert moments[number]["step"] == state["step"]
        for name in ("exp_avg", "exp_avg_sq"):
            torch.testing.assert_close(moments[number][name], state[name], rtol=1e-3, atol=1e-6)


def test_the_bias_of_attentions_keys_changes_no_vector(student: Path) -> None:
    encoder = TextEncoder(str(student)).eval()
    before = encoder.encode(["w1 w2 w3", "w4"], "query")
    biases = [p for name, p in encoder.named_parameters() if name.endswith(".key.bias")]
    with torch.no_grad():
        for bias in biases:
            bias.add_(torch.randn_like(bias))
    assert len(biases) == 2
    torch.testing.assert_close(encoder.encode(["w1 w2 w3", "w4"], "query"), before, rtol=0, atol=1e-6)


@pytest.fixture
def job(teacher: Path, student: Path, pairs: Path, tmp_path: Path) -> dict[str, Any]:
    return config(teacher, student, pairs, tmp_path / "run")


def test_what_trained_is_averaged_and_what_is_equal_stays_to_the_bit() -> None:
    frozen = torch.randn(50, dtype=torch.bfloat16)
    one = {"a": torch.tensor([1.0, 2.0]), "frozen": frozen, "steps": torch.tensor(3)}
    two = {"a": torch.tensor([2.0, 6.0]), "frozen": frozen.clone(), "steps": torch.tensor(7)}
    three = {"a": torch.tensor([6.0, 1.0]), "frozen": frozen.clone(), "steps": torch.tensor(9)}
    found = average({"one": one, "two": two, "three": three})
    assert found["a"].tolist() == [3.0, 3.0] and found["steps"] == 9
    assert found["frozen"].dtype == torch.bfloat16 and torch.equal(found["frozen"], frozen)


def test_states_of_different_models_are_refused_by_their_first_difference() -> None:
    a, b, c = {"w": torch.zeros(2, 3)}, {"w": torch.zeros(2, 4)}, {"w": torch.zeros(2, 3), "bias": torch.zeros(2)}
    with pytest.raises(UserError, match=r"'w' is \(2, 3\) in a.ckpt and \(2, 4\) in b.ckpt"):
        average({"a.ckpt": a, "b.ckpt": b})
    with pytest.raises(UserError, match=r"c.ckpt has 'bias' and a.ckpt has not"):
        average({"a.ckpt": a, "c.ckpt": c})
    with pytest.raises(UserError, match="two checkpoints or more"):
        average({"a.ckpt": a})


def test_a_run_ends_with_the_average_and_reports_and_exports_it(job: dict[str, Any], tmp_path: Path) -> None:
    run(with_average(job), tmp_path)
    home = tmp_path / "run/checkpoints"
    earlier, last, averaged = (states(home / f"{name}.ckpt") for name in ("earlier", "last", "averaged"))
    assert not torch.equal(earlier["projection.weight"], last["projection.weight"])
    for key, value in averaged.items():
        torch.testing.assert_close(value, (earlier[key] + last[key]) / 2 if value.is_floating_point() else last[key])
    from safetensors.torch import load_file

    exported = load_file(tmp_path / "run/model/model.safetensors")
    for key, value in exported.items():
        torch.testing.assert_close(value, averaged[f"student.backbone.{key}"])
    assert "the average of its weights at steps 3 and 6" in (tmp_path / "run/report.md").read_text()
    assert len(losses(tmp_path / "run")) == 6
    import pandas

    peaks = pandas.read_csv(tmp_path / "run/csv/version_0/metrics.csv")["memory/peak_gb"].dropna()
    assert len(peaks) == 1 and 0.1 < peaks.iloc[0] < 100


def test_a_stopped_run_goes_on_and_ends_with_the_same_average(job: dict[str, Any], tmp_path: Path) -> None:
    whole = with_average(job, 4, 2)
    whole["trainer"]["default_root_dir"] = str(tmp_path / "whole")
    run(whole, tmp_path, "--report.enabled", "false")
    run(with_average(job, 3, 2), tmp_path, "--report.enabled", "false")
    run(with_average(job, 4, 2), tmp_path, "--report.enabled", "false", "--ckpt_path", "last")
    assert_same_run(tmp_path / "run/checkpoints", tmp_path / "whole/checkpoints")


@pytest.mark.slow
def test_a_killed_run_goes_on_and_ends_with_the_same_average(job: dict[str, Any], tmp_path: Path) -> None:
    whole = with_average(job, 30)
    whole["trainer"]["default_root_dir"] = str(tmp_path / "whole")
    run(whole, tmp_path, "--report.enabled", "false")
    killed = with_average(job, 30)
    killed["trainer"] |= {"val_check_interval": 2, "check_val_every_n_epoch": None}  # a checkpoint each two steps
    process = start(killed, tmp_path, "--report.enabled", "false")
    home = tmp_path / "run/checkpoints"
    deadline = time.time() + 120
    while not (home / "earlier.ckpt").exists() and process.poll() is None and time.time() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (home / "averaged.ckpt").exists()
    run(killed, tmp_path, "--report.enabled", "false", "--ckpt_path", "last")
    assert_same_run(home, tmp_path / "whole/checkpoints")


def refused(job: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as stop:
        run(job, tmp_path, "--report.enabled", "false", *words)
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert stop.value.code == 2 and len(errors) == 1
    return errors[0]


def test_an_earlier_step_that_cannot_be_is_refused(
    job: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "between 0 and 1, or a step from 1, got 1.5" in refused(with_average(job, 6, 1.5), tmp_path, capsys)
    assert "step 6, which must come before trainer.max_steps 6" in refused(with_average(job, 6, 6), tmp_path, capsys)
    without = with_average(job, -1)
    without["trainer"]["max_epochs"] = 1
    assert "a share is of trainer.max_steps, which is not set" in refused(without, tmp_path, capsys)


def test_a_run_that_goes_on_behind_the_earlier_step_without_its_weights_is_refused(
    job: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(with_average(job, 4, None), tmp_path, "--report.enabled", "false")
    assert not (tmp_path / "run/checkpoints/averaged.ckpt").exists()
    said = refused(with_average(job, 6, 2), tmp_path, capsys, "--ckpt_path", "last")
    assert "resumes at step 4" in said and "earlier.ckpt; give a later step" in said


@pytest.fixture(scope="module")
def two_runs(teacher: Path, student: Path, pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of 2 steps, 4 and then 6 in run/checkpoints, and its job as job.yaml."""
    folder = tmp_path_factory.mktemp("average")
    job = config(teacher, student, pairs, folder / "run")
    job["trainer"]["max_steps"] = 6
    (folder / "job.yaml").write_text(yaml.safe_dump(job))
    run(with_average(job, 6, 4), folder, "--report.enabled", "false")
    return folder


def tool(*words: object) -> None:
    from lightning_embed.__main__ import main

    main(["average", *map(str, words)])


def test_the_command_gives_what_the_run_gives_and_export_and_test_read_it(
    two_runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from lightning_embed.__main__ import main

    home = two_runs / "run/checkpoints"
    out = home / "mine.ckpt"
    tool(home / "earlier.ckpt", home / "last.ckpt", "--out", out)
    assert f"wrote {out}: the average of steps 4, 6" in capsys.readouterr().out
    one, two = states(out), states(home / "averaged.ckpt")
    assert list(one) == list(two) and all(torch.equal(one[key], two[key]) for key in one)
    (tmp_path / "texts.txt").write_text("w1 w2\nw3 w4 w5\n")
    main(["export", str(out), str(tmp_path / "model"), "--texts", str(tmp_path / "texts.txt")])
    job = yaml.safe_load((two_runs / "job.yaml").read_text())
    run(job, tmp_path, "--ckpt_path", str(out), command="test")
    assert "test/ndcg@10" in capsys.readouterr().out
    assert "holds weights alone" in refused(job, tmp_path, capsys, "--ckpt_path", str(out))


def test_the_command_refuses_another_student_and_writes_nothing(
    two_runs: Path, job: dict[str, Any], teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job["model"]["init_args"]["student"]["model"] = str(teacher)
    job["model"]["init_args"]["projection"] = None
    job["trainer"]["max_steps"] = 1
    run(job, tmp_path, "--report.enabled", "false")
    capsys.readouterr()
    one, other, out = (
        two_runs / "run/checkpoints/last.ckpt",
        tmp_path / "run/checkpoints/last.ckpt",
        tmp_path / "o.ckpt",
    )

    def said(*words: object) -> str:
        with pytest.raises(SystemExit) as stop:
            tool(*words)
        assert stop.value.code == 2 and not list(tmp_path.glob("*o.ckpt*"))
        return capsys.readouterr().err

    assert "student.model is" in said(one, other, "--out", out)
    alone = tmp_path / "alone.ckpt"
    anonymous = torch.load(other, weights_only=True)
    del anonymous["lightning_embed"]  # as earlier versions wrote it, without the settings of its student
    torch.save(anonymous, alone)
    (tmp_path / "config.yaml").unlink()
    first = "'student.backbone.embeddings.word_embeddings.weight' is (204, 32) in"
    assert first in said(one, alone, "--out", out)
    assert "is given twice" in said(one, one, "--out", out)
    assert "is there already" in said(one, one.with_name("earlier.ckpt"), "--out", other)
