"""A run that is killed at random moments reads the very rows, and comes to the very losses, of one that never was."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_eight_kills_change_no_step_whatever_the_ranks_and_workers() -> None:
    command = [sys.executable, "-m", "scripts.kill_and_resume", "--kills", "8"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
    assert "8 kills in" in done.stdout
