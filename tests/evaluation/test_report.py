"""The report: its numbers come back, its sentences are right, its files are whole."""

import os
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from lightning_embed.errors import UserError
from lightning_embed.evaluation.metrics.grid import GridRow
from lightning_embed.evaluation.reports.run_report import (
    ModelReport,
    Report,
    TrainingFacts,
    load_report,
    print_report,
    write_report,
)
from lightning_embed.evaluation.reports.tables import grid_table, headline, models_table


def grid(score: float, dims: tuple[int, ...] = (64, 32)) -> list[GridRow]:
    kept = {"float32": 1.0, "int8": 0.99, "binary": 0.8, "binary_rescore": 0.9}
    return [
        GridRow(dim, precision, dim, {"ndcg@10": score * part * dim / dims[0], "mrr@10": score * part * 0.9})
        for dim in dims
        for precision, part in kept.items()
    ]


TEACHER = ModelReport("teacher", 128, 600_000_000, 1_200_000_000, 28, 40.0, grid(0.8))
BEFORE = ModelReport("student before", 64, 22_700_000, 90_900_000, 6, 400.0, grid(0.5))
AFTER = ModelReport("student after", 64, 22_700_000, 90_900_000, 6, 84.0, grid(0.7688))
FULL = Report(
    [TEACHER, BEFORE, AFTER],
    TrainingFacts(1000, 256_000, 12_345_678, 3723.4, "2 CPU cores", {"torch": "2.13.0"}),
    scored_on="2,000 held-out [pairs]",
    artefacts={"checkpoint": "runs/last.ckpt"},
    exported="runs/model",
    notes=["312 of 256,000 texts\nwere cut."],
)


def printed(report: Report, width: int = 100, terminal: bool = False) -> list[str]:
    out = StringIO()
    print_report(report, Console(file=out, width=width, color_system=None, force_terminal=terminal))
    return out.getvalue().splitlines()


def test_the_headline_compares_with_the_teacher_and_with_the_start() -> None:
    assert headline(FULL) == (
        "The student keeps 96.1 % of the teacher's nDCG@10 at 2.1x its speed and 0.076 of its size. "
        "Training took the student's nDCG@10 from 50.0 to 76.9 (+53.8 %)."
    )


def test_the_headline_leaves_out_what_is_not_known() -> None:
    bare = replace(AFTER, texts_per_second=None, size_bytes=None)
    assert headline(Report([TEACHER, bare])) == "The student keeps 96.1 % of the teacher's nDCG@10."
    assert headline(Report([AFTER])) == "The student's nDCG@10 is 76.9."
    assert headline(Report([BEFORE, AFTER])).startswith("Training took")
    assert headline(Report([replace(AFTER, grid=[])])) == "No nDCG@10 of a trained student was measured."
    assert "reaches 104.1 %" in headline(Report([replace(TEACHER, grid=AFTER.grid), replace(AFTER, grid=TEACHER.grid)]))


def test_the_models_table_leaves_out_columns_that_nobody_fills() -> None:
    header, rows = models_table(Report([ModelReport("student after", dim=64, grid=AFTER.grid)]))
    assert header == ["model", "dims", "nDCG@10", "MRR@10"]
    assert rows == [["student after", "64", "76.9", "69.2"]]


def test_the_grid_table_tells_the_change_against_full_precision() -> None:
    header, rows = grid_table(BEFORE, "ndcg@10")
    assert header[0] == "dims" and len(header) == 5
    assert rows[0][:4] == ["64", "50.0", "49.5 (−1.0 %)", "40.0 (−20.0 %)"]
    assert rows[1][1] == "25.0 (−50.0 %)"


def test_a_report_comes_back_from_its_file(tmp_path: Path) -> None:
    written = write_report(FULL, tmp_path / "new" / "folder")
    assert load_report(tmp_path / "new" / "folder" / "report.json") == written
    assert written.models == FULL.models


def test_all_files_are_written_and_hold_the_numbers(tmp_path: Path) -> None:
    csv = tmp_path / "metrics.csv"
    csv.write_text("step,train/loss,val/ndcg@10\n0,2.0,\n1,1.0,0.7\n")
    written = write_report(FULL, tmp_path / "out", csv)
    names = {"report.md", "report.json", "report.png", "training.png"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names
    assert {Path(path).name for path in written.artefacts.values()} == names | {"last.ckpt"}
    page = (tmp_path / "out" / "report.md").read_text()
    for expected in (
        "96.1 %",
        "| student after | 22.7 M | 90.9 MB | 64 | 6 | 84 | 76.9 | 69.2 | 96.1 % |",
        "40.0 (−20.0 %)",
        "1,000 steps, 256,000 rows, 12.3 M tokens, 1 h 2 min, 2 CPU cores, torch 2.13.0.",
        'src="report.png"',
        'src="training.png"',
        'SentenceTransformer("runs/model")',
        "- 312 of 256,000 texts were cut.",
        "runs/last.ckpt",
    ):
        assert expected in page


def test_a_report_of_one_unscored_model_is_written_and_printed(tmp_path: Path) -> None:
    written = write_report(Report([ModelReport("student after")]), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"report.md", "report.json"}
    assert any("student after" in line for line in printed(written))
    assert write_report(Report([]), tmp_path).models == []
    printed(Report([]))


def test_the_terminal_gets_at_most_25_lines_and_no_line_of_a_table_wraps(tmp_path: Path) -> None:
    models = [replace(m, grid=grid(0.5, (1024, 512, 256, 128, 64, 32))) for m in FULL.models]
    lines = printed(write_report(replace(FULL, models=models), tmp_path))
    assert len(lines) <= 25
    text = "\n".join(lines)
    for expected in (
        "22.7 M",
        "2,000 held-out [pairs]",
        "12.3 M tokens",
        "texts were cut",
        str(tmp_path / "report.md"),
    ):
        assert expected in text
    assert sum(line.startswith(("1024 ", "512 ", "256 ", "128 ", "64 ", "32 ")) for line in lines) == 6
    assert all(
        len(line) <= 100 for line in lines if not line.startswith(("trained", "note", "report", "numbers", "picture"))
    )


def test_on_a_terminal_of_80_columns_only_paths_are_longer_and_no_word_is_broken(tmp_path: Path) -> None:
    models = [replace(m, grid=grid(0.5, (1024, 512, 256, 128, 64, 32))) for m in FULL.models]
    note = "Loaded again in a new process, the exported model gives the same vectors (least cosine 1.000000)."
    report = write_report(replace(FULL, models=models, notes=[note]), tmp_path / "r")
    lines = printed(report, 80, terminal=True)
    paths = [f"{what}: " for what in (*report.artefacts, "exported model")]
    assert all(len(line) <= 80 for line in lines if not line.startswith(tuple(paths)))
    assert " ".join(" ".join(lines).split()).count(note) == 1


def test_names_with_a_bar_do_not_break_the_markdown_table(tmp_path: Path) -> None:
    write_report(Report([ModelReport("a|b", dim=3)]), tmp_path)
    assert "| a\\|b | 3 |" in (tmp_path / "report.md").read_text()


def test_a_file_in_the_way_of_the_folder_is_a_user_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write the report"):
        write_report(FULL, tmp_path / "file")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_a_user_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="cannot write the report"):
        write_report(FULL, tmp_path)


def test_a_write_that_is_refused_leaves_the_old_report_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_report(FULL, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(UserError, match="Permission denied"):
        write_report(replace(FULL, notes=["other"]), tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_bad_metrics_write_nothing(tmp_path: Path) -> None:
    with pytest.raises(UserError):
        write_report(FULL, tmp_path / "out", tmp_path / "nowhere.csv")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"models": [], "training": null, "colour": 1}', '{"models": [{}]}'])
def test_a_file_that_is_no_report_is_a_user_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "report.json"
    path.write_text(text)
    with pytest.raises(UserError, match=r"report\.json"):
        load_report(path)
