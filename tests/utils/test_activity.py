"""What takes a while, on a terminal and in a log."""

import sys
from io import StringIO

import pytest

from lightning_embed.utils import activity
from lightning_embed.utils.activity import Activity, Count, track


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def on_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Makes standard error a terminal of 80 columns, until the test ends."""
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "LINES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    shown = Terminal()
    monkeypatch.setattr(sys, "stderr", shown)
    return shown


def test_in_a_log_each_activity_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    with activity.activity("reading"):
        assert list(track(range(3), "scoring")) == [0, 1, 2]
    assert capsys.readouterr().err == "reading\nscoring\n"


def test_in_a_log_a_line_says_every_so_often_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = iter(range(0, 1000, 25))
    monkeypatch.setattr(activity.time, "monotonic", lambda: float(next(now)))
    list(track(range(5), "scoring"))
    assert capsys.readouterr().err.splitlines() == ["scoring", "scoring  3/5"]


def test_a_count_says_how_many_how_fast_and_how_long_still(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [0.0]
    monkeypatch.setattr(activity.time, "monotonic", lambda: now[0])
    with Count("encoding", 10_000, "texts", done=1_000) as count:
        for now[0] in (30.0, 60.0, 90.0, 120.0):
            count.advance(1_000)
    with Count("reading", None, "texts") as count:
        now[0] = 180.0
        count.update(5, what="looking")
    with Count("hidden", 2, "texts", shown=False) as count:
        count.advance()
    assert capsys.readouterr().err.splitlines() == [
        "encoding  1,000/10,000 texts",
        "encoding  3,000/10,000 texts  33/s  3:30 left",
        "encoding  5,000/10,000 texts  33/s  2:30 left",
        "reading  0 texts",
        "looking  5 texts  12.0 s each",
    ]


def test_a_process_that_is_not_the_first_shows_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from lightning.fabric.utilities.rank_zero import rank_zero_only

    monkeypatch.setattr(rank_zero_only, "rank", 1)
    list(track(range(3), "scoring"))
    assert capsys.readouterr().err == ""


def test_on_a_terminal_a_line_of_80_columns_is_drawn_and_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch)
    shown = Activity()
    numbers = "loss 0.01234  nDCG@10 100.0  12,345 rows/s  12:05:13 left"
    shown.show("step 20,000/100,000", numbers, 20_000, 100_000)
    with activity.activity("in between"):  # one line at a time
        print("a note", file=sys.stderr)
    shown.close()
    drawn = terminal.getvalue()
    lines = [line for line in drawn.replace("\r", "\n").split("\n") if "loss" in line]
    assert numbers in drawn and "a note" in drawn and "in between" not in drawn
    assert lines and all(len(line.replace("\x1b[2K", "").rstrip()) <= 80 for line in lines if "\x1b[3" not in line)
    assert drawn.rstrip("\n").endswith("\x1b[2K")  # the line is erased
    print("afterwards", file=sys.stderr)
    assert terminal.getvalue().endswith("afterwards\n")
