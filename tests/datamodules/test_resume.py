"""A run that is killed at random moments reads the very rows, and comes to the very losses, of one that never was."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("kills", (1, pytest.param(20, marks=pytest.mark.slow)))
def test_kills_change_no_step_whatever_the_ranks_and_workers(kills: int) -> None:
    command = [sys.executable, "-m", "scripts.kill_and_resume", "--kills", str(kills)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
    assert f"{kills} kills in" in done.stdout
