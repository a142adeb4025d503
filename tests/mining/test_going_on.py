"""A run that is stopped, killed or shared gives what one run gives."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from lightning_embed.__main__ import main
from lightning_embed.mining import stages
from lightning_embed.mining import vectors as encoding
from tests.mining.commands import different_texts, lines, mined, words
from tests.toys import toy_pairs

ROOT = Path(__file__).resolve().parents[2]


class Counted:
    """Counts the texts that are encoded, and stops after some by a signal."""

    def __init__(self, most: float = float("inf"), number: int = signal.SIGINT) -> None:
        self.texts: list[str] = []
        self.most, self.signal = most, number

    def __call__(self, teacher: Any, lookup: Any) -> encoding.Embed:
        embed = encoding.embed_with(teacher, lookup)

        def counted(texts: Any, prompt: str, max_length: int | None) -> Any:
            if len(self.texts) + len(texts) > self.most:
                os.kill(os.getpid(), self.signal)
            self.texts += texts
            return embed(texts, prompt, max_length)

        return counted


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_goes_on_without_encoding_twice(
    number: int, teacher: Path, near: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stages, "ENCODED", 8)
    monkeypatch.setattr(stages, "SEARCHED", 16)
    whole = mined(teacher, near, tmp_path / "whole.jsonl")
    first, second = Counted(60, number), Counted()
    monkeypatch.setattr("lightning_embed.mining.run.embed_with", first)
    with pytest.raises(SystemExit) as stop:
        mined(teacher, near, tmp_path / "out.jsonl")
    assert stop.value.code == 128 + number and not (tmp_path / "out.jsonl").exists() and len(first.texts) >= 50
    monkeypatch.setattr("lightning_embed.mining.run.embed_with", second)
    assert mined(teacher, near, tmp_path / "out.jsonl") == whole
    assert len(first.texts + second.texts) == different_texts()  # each once
    assert not list(tmp_path.glob("*.work"))


def test_other_rules_need_no_vectors_anew_and_another_model_does(
    teacher: Path, student: Path, near: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = ["--work", str(tmp_path / "work")]
    mined(teacher, near, tmp_path / "a.jsonl", *work)
    again = Counted()
    monkeypatch.setattr("lightning_embed.mining.run.embed_with", again)
    mined(teacher, near, tmp_path / "b.jsonl", *work, "--relative_margin", "0.1", "--num_negatives", "5")
    assert not again.texts
    mined(student, near, tmp_path / "c.jsonl", *work)
    assert len(again.texts) == different_texts()


@pytest.mark.slow
def test_a_killed_run_goes_on(teacher: Path, tmp_path: Path) -> None:
    rows = [
        {"anchor": f"{row['anchor']} n{i}", "positive": f"{row['positive']} w{i // 199} w{i % 199}"}
        for i, row in enumerate(toy_pairs(5000))
    ]
    source = lines(tmp_path / "rows.jsonl", rows)
    options = ["--relative_margin", "null"]
    command = [
        sys.executable,
        "-m",
        "lightning_embed",
        "mine",
        *words(teacher, source, tmp_path / "out.jsonl"),
        *options,
    ]
    process = subprocess.Popen(command, cwd=ROOT)
    deadline = time.time() + 120
    marks: list[Path] = []
    while time.time() < deadline and process.poll() is None and not any(any(m.read_bytes()) for m in marks):
        marks = list((tmp_path / "out.jsonl.work").glob("vectors-*.done"))
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    done = sum(sum(m.read_bytes()) for m in marks)
    assert 0 < done < 6 and not (tmp_path / "out.jsonl").exists()
    found = mined(teacher, source, tmp_path / "out.jsonl", *options)
    assert found == mined(teacher, source, tmp_path / "whole.jsonl", *options) and len(found) == 5000


@pytest.mark.slow
def test_two_processes_give_what_one_gives(teacher: Path, tmp_path: Path) -> None:
    rows = [
        {"anchor": f"{row['anchor']} w{i % 199}", "positive": f"{row['positive']} w{i // 199}"}
        for i, row in enumerate(toy_pairs(2500))
    ]
    source = lines(tmp_path / "rows.jsonl", rows)  # two blocks of each, so that one is the other process's
    alone = mined(teacher, source, tmp_path / "alone.jsonl")
    assert mined(teacher, source, tmp_path / "shared.jsonl", "--shards", "2") == alone
    assert not list(tmp_path.glob("*.work"))


@pytest.mark.slow
def test_shares_started_by_hand_meet_in_the_work_folder(
    teacher: Path, near: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stages, "ENCODED", 8)
    monkeypatch.setattr(stages, "SEARCHED", 16)
    work = ["--work", str(tmp_path / "work"), "--shards", "2", "--shard"]
    command = f"""
from lightning_embed.__main__ import main
from lightning_embed.mining import stages
stages.ENCODED, stages.SEARCHED = 8, 16
main({["mine", *words(teacher, near, tmp_path / "out.jsonl"), *work, "1"]})
"""
    second = subprocess.Popen([sys.executable, "-c", command], cwd=ROOT)
    found = mined(teacher, near, tmp_path / "out.jsonl", *work, "0")
    assert second.wait(timeout=60) == 0
    (tmp_path / "out.jsonl").unlink()
    main(["mine", *words(teacher, near, tmp_path / "out.jsonl"), *work, "1"])
    assert not (tmp_path / "out.jsonl").exists()  # only the first writes
    assert found == mined(teacher, near, tmp_path / "alone.jsonl")
