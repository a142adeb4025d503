"""What a user is shown who asks for help."""

import sys

import pytest

from lightning_embed.cli.help import ABOUT, answer
from lightning_embed.utils.program import program
from tests.commands import run_words


@pytest.mark.parametrize("command", ABOUT)
def test_help_is_one_page_that_names_the_first_options(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    run_words(command, "--help")
    page = capsys.readouterr().out
    assert page.startswith(f"usage: python -m lightning_embed {command} ")
    assert len(page.splitlines()) <= 60
    for word in (
        "--config FILE",
        "--data.",
        "--ckpt_path" if command not in ("cache", "doctor") else "--data",
        "--help_all",
    ):
        assert word in page


@pytest.mark.parametrize(
    ("word", "settings"),
    [
        ("--data.train.help", ("path", "columns", "filter")),
        ("--data.help", ("train", "holdout")),
        ("--model.losses.help", ("loss", "weight", "when")),
    ],
)
def test_the_settings_of_a_part_are_shown_by_its_place(word: str, settings: tuple[str, ...]) -> None:
    lines = (answer("fit", [word]) or "").splitlines()
    assert {f"  {name}" for name in settings} <= set(lines)


def test_the_settings_of_a_class_come_with_what_they_mean(capsys: pytest.CaptureFixture[str]) -> None:
    run_words("doctor", "--help", "InfoNCE")
    out = capsys.readouterr().out
    assert "\n  temperature\n" in out and "(type: float, default: 0.02)" in out


def test_an_unknown_class_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        run_words("fit", "--help", "Sorce")
    assert stop.value.code == 2
    assert "did you mean Source?" in capsys.readouterr().err


def test_help_with_a_value_is_left_to_the_parser() -> None:
    assert answer("fit", ["--model.student.help", "TextEncoder"]) is None
    assert answer("fit", ["--config", "job.yaml"]) is None


def test_the_program_goes_by_the_name_that_started_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/bin/lightning-embed", "fit"])
    assert program() == "lightning-embed"
    monkeypatch.setattr(sys, "argv", ["/somewhere/lightning_embed/__main__.py", "fit"])
    assert program() == "python -m lightning_embed"


def test_mine_describes_the_settings_of_its_source(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run_words("mine", "--help")
    assert "What stands between the cells of a CSV file" in capsys.readouterr().out
