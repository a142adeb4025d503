"""Files as people have them: each is read, or named for what it is with what to do."""

import gzip
import io
import json
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lightning_embed import EmbeddingDataModule, Source, UserError
from tests.cli.test_fit import config, losses, refused, run

ROWS = [{"anchor": f"ängste {i}", "positive": f"mut {i} é"} for i in range(5)]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
CSV = "anchor,positive\n" + "".join(f"{row['anchor']},{row['positive']}\n" for row in ROWS)


def opened(*given: Any) -> list[Any]:
    """The anchors of the rows of some sources."""
    return [rows.take(range(len(rows)))["anchor"] for rows in EmbeddingDataModule(list(given)).rows("train")]


def written(folder: Path, name: str, content: bytes | str) -> Path:
    file = folder / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


def zipped() -> bytes:
    """A ZIP archive without the time of day: it is part of a test's name, and each of pytest's workers collects the names."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr(zipfile.ZipInfo("rows.jsonl"), LINES)
    return made.getvalue()


def tarred() -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        entry = tarfile.TarInfo("rows.jsonl")
        entry.size = len(LINES.encode())
        archive.addfile(entry, io.BytesIO(LINES.encode()))
    return gzip.compress(made.getvalue(), mtime=0)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("ab[1].jsonl", LINES),
        ("ab[1].csv", CSV),
        ("what?.jsonl", LINES),
        ("packed.csv", gzip.compress(CSV.encode(), mtime=0)),
        ("packed.jsonl", gzip.compress(LINES.encode(), mtime=0)),
        ("unpacked.jsonl.gz", LINES),
        ("unpacked.csv.zst", CSV),
    ],
)
def test_a_file_is_read_whatever_its_name_says_of_it(tmp_path: Path, name: str, content: bytes | str) -> None:
    (tmp_path / "ab1.jsonl").write_text("{}")  # what the name would match as a pattern
    assert opened(Source(written(tmp_path, name, content))) == [[row["anchor"] for row in ROWS]]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", CSV.encode("utf-16"), "is in UTF-16, and UTF-8 is expected; iconv -f UTF-16 -t UTF-8"),
        ("a.jsonl", LINES.encode("utf-16-be"), "is in UTF-16, and UTF-8 is expected; iconv -f UTF-16BE"),
        ("a.csv", CSV.encode("utf-32"), "is in UTF-32, and UTF-8 is expected"),
        ("a.csv", CSV.encode("latin-1"), r"is not in UTF-8 \(line 2 has byte 0xe4\).*iconv -f WINDOWS-1252 -t UTF-8"),
        ("a.jsonl", LINES.encode("latin-1"), r"is not in UTF-8 \(line 1 has byte 0xe4\)"),
        ("a.jsonl", LINES.splitlines()[0].encode("latin-1"), "line 1.*expected UTF-8.*convert it with iconv"),
        ("a.zip", zipped(), "is a ZIP archive; unpack it"),
        ("a.jsonl", zipped(), "is a ZIP archive; unpack it"),
        ("a.tar.gz", tarred(), "is a tar archive; unpack it"),
        ("a.jsonl.bz2", b"BZh91AY", "is packed with bzip2"),
        ("a.csv", b"PAR1....", "is a Parquet file; rename it to "),
        ("a.csv", "<!DOCTYPE html>\n<html>", "is a web page; download the file itself"),
        ("a.jsonl", "version https://git-lfs.github.com/spec/v1\noid 1\n", "is a Git LFS pointer"),
        ("a.json", json.dumps({"data": ROWS}, indent=1), r"is one JSON object \(with the keys data\).*jq -c '.data\[\]'"),
        ("a.csv", CSV.replace(",", ";"), 'separated by a semicolon, not by a comma; say delimiter: ";"'),
        ("a.csv", CSV.replace(",", "\t"), 'separated by a tab, not by a comma; say delimiter: "\\\\t"'),
        ("a.tsv", CSV, 'separated by a comma, not by a tab; say delimiter: ","'),
        ("a.csv.gz", gzip.compress(b"", mtime=0), "is empty"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_read_is_named_for_what_it_is(
    tmp_path: Path, name: str, content: bytes | str, said: str
) -> None:
    with pytest.raises(UserError, match=said) as refused:
        opened(written(tmp_path, name, content))
    assert "\n" not in str(refused.value)


def test_the_delimiter_of_a_csv_can_be_said(tmp_path: Path) -> None:
    file = written(tmp_path, "a.csv", CSV.replace(",", ";") + "broken\n")
    data = EmbeddingDataModule({"path": file, "delimiter": ";"}, on_bad_row="skip", max_bad_share=0.5)
    assert len(data.rows("train")[0]) == 5 and "line 7" in data.bad_rows.found[0][1].where


def test_a_pattern_reads_data_alone_and_says_what_it_passes_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    left = [
        "p-1.jsonl.tmp",
        "p-2.jsonl~",
        ".p-3.jsonl",
        "p-4.jsonl.bak",
        "#p-5.jsonl#",
        "p-6.jsonl.gz.part",
        "p-README",
    ]
    for name in ["p-0.jsonl", "p-7.jsonl.gz", *left]:
        written(tmp_path, name, LINES)
    assert [len(rows) for rows in opened(tmp_path / "*p-*")] == [10]
    assert "p-1.jsonl.tmp, p-2.jsonl~, p-4.jsonl.bak" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"no file of data among the 1 that match \(p-1.jsonl.tmp\)"):
        opened(tmp_path / "*.tmp")
    assert [len(rows) for rows in opened({"path": [tmp_path / "p-0.jsonl", tmp_path / "p-[0-7].jsonl"]})] == [5]


def test_a_file_that_is_not_there_is_missed_with_the_nearest_name(tmp_path: Path) -> None:
    written(tmp_path, "pairs.jsonl", LINES)
    with pytest.raises(UserError, match=r"there is no file .*/pair.jsonl .*; did you mean .*/pairs.jsonl\?"):
        opened(tmp_path / "pair.jsonl")


@pytest.mark.parametrize(
    "given",
    [
        lambda f: f,
        str,
        lambda f: {"path": str(f)},
        lambda f: Source(f),
        lambda f: Source([f]),
        lambda f: [f],
        lambda f: [{"path": [f]}],
    ],
    ids=["Path", "str", "dict", "Source of a Path", "Source of Paths", "list", "list of dicts"],
)
def test_a_path_settings_and_a_source_all_do(tmp_path: Path, given: Callable[[Path], Any]) -> None:
    data = EmbeddingDataModule(given(written(tmp_path, "pairs.jsonl", LINES)))
    assert [len(rows) for rows in data.rows("train")] == [5] and data.rows("train")[0].source.title == "pairs"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (3, "train: expected a path, or a source's settings"),
        (["a.jsonl", None], "train, source 2: expected a path"),
        ([["a.jsonl"]], r"train: expected a path.*got \['a.jsonl'\]"),
        ({"pth": "a.jsonl"}, "train: a source has no setting 'pth'; did you mean path?"),
        ([{"path": "a.jsonl", "weigth": 2}], "train: a source has no setting 'weigth'; did you mean weight?"),
        ({"path": []}, "a source's path must be a path or a list of paths"),
        ({"path": "a.jsonl", "format": "xls"}, "source 'a': format: expected one of json, csv"),
        ({"path": "a.jsonl", "columns": ["x"]}, "source 'a': columns: expected texts by role"),
        ({"path": "a.csv", "delimiter": "; "}, "source 'a': delimiter: expected one character"),
    ],
)
def test_what_is_no_source_is_refused_in_a_line(given: Any, said: str) -> None:
    with pytest.raises(UserError, match=said) as refused:
        EmbeddingDataModule(given)
    assert "\n" not in str(refused.value)


@pytest.fixture
def job(teacher: Path, student: Path, pairs: Path, tmp_path: Path) -> dict[str, Any]:
    settings = config(teacher, student, pairs, tmp_path / "run")
    settings["trainer"]["max_steps"] = 2
    for split in ("train", "validation", "test"):
        del settings["data"]["init_args"][split]
    return settings


@pytest.mark.parametrize("form", ["{}", "{{path: {}, weight: 2}}", "[{}]"])
def test_the_command_line_takes_a_path_or_settings(job: dict[str, Any], pairs: Path, tmp_path: Path, form: str) -> None:
    run(job, tmp_path, "--data.train", form.format(pairs), "--report.enabled", "false")
    assert len(losses(tmp_path / "run")) == 2
    again = tmp_path / "again"
    again.mkdir()
    words = ("--config", str(next((tmp_path / "run").rglob("config.yaml"))), "--trainer.default_root_dir", str(again))
    run({}, tmp_path, *words)  # the configuration that the run wrote says the same
    assert losses(again) == losses(tmp_path / "run")


def test_a_wrong_setting_of_a_source_is_named_in_yaml_and_on_the_command_line(
    job: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = "a source has no setting 'weigth'; did you mean weight? it has path, format"
    assert said in refused(job, tmp_path, capsys, "--data.train", "[{path: a.jsonl, weigth: 2}]")
    job["data"]["init_args"]["train"] = [{"path": "a.jsonl", "weigth": 2}]
    assert said in refused(job, tmp_path, capsys)
    job["data"]["init_args"]["train"] = [17]
    line = refused(job, tmp_path, capsys)
    assert "data.init_args.train, item 1: expected a path or a source's settings, such as {path: pairs.jsonl}" in line
    assert line.endswith(", got 17")


def test_the_default_job_takes_a_users_file_in_place_of_its_own_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, student: Path, pairs: Path
) -> None:
    from lightning_embed.__main__ import main

    monkeypatch.setattr(sys, "argv", ["fit"])
    words = [
        "--model.teacher.model",
        str(student),
        "--model.student.model",
        str(student),
        "--model.student.layers",
        "[0]",
    ]
    main(["doctor", "--data.train", str(pairs), *words])
    assert "train source 'pairs': 96 rows" in capsys.readouterr().out
