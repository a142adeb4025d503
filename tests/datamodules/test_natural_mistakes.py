"""Mistakes that people make with files: each ends in one line that says what the file is and what to write instead."""

import io
import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lightning_embed import EmbeddingDataModule, Source, UserError
from lightning_embed.datamodules.sources.paths import is_hub_id

ROWS = [{"anchor": f"a{i}", "positive": f"p{i}"} for i in range(5)]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)
CSV = "anchor,positive\na,b\nc,d\n"
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600)


def parquet() -> bytes:
    made = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(ROWS), made)
    return made.getvalue()


def refused(given: object) -> str:
    with pytest.raises(UserError) as error:
        EmbeddingDataModule(given).rows("train")  # type: ignore[arg-type]
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("rows.csv", LINES, "is JSON lines; rename it to *.jsonl, or say format: json"),
        ("rows.parquet", LINES, "is JSON lines; rename it to *.jsonl"),
        ("rows.parquet", CSV, "is a text and no Parquet file; rename it to what it is"),
        ("rows.jsonl", CSV, "is CSV and not JSON; rename it to *.csv, or say format: csv"),
        ("rows.jsonl", parquet(), "is a Parquet file; rename it to *.parquet"),
        ("rows.csv", OLE, "is an old Excel workbook"),
        ("rows.xls", OLE, "is an old Excel workbook"),
        ("rows.jsonl", '["a", "b"]\n["c", "d"]\n', "line 1: expected a JSON object, got a list of texts"),
        ("rows.jsonl", "{'anchor': 'a', 'positive': 'b'}\n", "line 1: expected a JSON object"),
    ],
)
def test_a_file_of_another_kind_is_named_for_what_it_is(
    tmp_path: Path, name: str, content: str | bytes, said: str
) -> None:
    file = tmp_path / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert said in refused(file)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("https://example.com/rows.jsonl", "is an address, and files are read from this machine; download the file"),
        ("s3://bucket/rows.parquet", "s3://bucket/rows.parquet is an address"),
        ("file:///data/rows.jsonl", "give the path /data/rows.jsonl"),
        ("hf://datasets/owner/name/rows.parquet", "give the data set's name, owner/name"),
        ("https://huggingface.co/datasets/owner/name", "give the data set's name, owner/name"),
        ("squad", "a data set of the Hugging Face hub is named owner/name"),
        ("/dev/null", "/dev/null is no regular file"),
    ],
)
def test_what_is_no_file_here_is_answered_with_what_to_give(path: str, said: str) -> None:
    assert said in refused(path)


def test_two_paths_in_one_spaces_around_one_and_a_folder_are_recognised(tmp_path: Path) -> None:
    for name in ("a.jsonl", "b.jsonl"):
        (tmp_path / name).write_text(LINES)
    a, b = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    assert "give several files as a list: [" in refused(f"{a},{b}")
    assert "leave the spaces around it out" in refused(Source(f"{a} "))
    assert f"name its files, e.g. {tmp_path}{os.sep}*.jsonl" in refused(tmp_path)


def test_a_pattern_without_a_name_is_called_by_its_folder(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(LINES)
    assert Source(tmp_path / "*.jsonl").title == tmp_path.name and Source(tmp_path / "a*.jsonl").title == "a*"


def test_a_split_of_a_file_is_noted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.jsonl").write_text(LINES)
    assert len(EmbeddingDataModule(Source(tmp_path / "a.jsonl", split="dev")).rows("train")[0]) == 5
    assert "split 'dev' is not used" in capsys.readouterr().err


def test_a_version_is_part_of_a_hubs_name_and_a_suffix_is_not() -> None:
    assert is_hub_id("owner/texts-v1.5") and is_hub_id("owner/name.v2") and not is_hub_id("owner/name.jsonl")


def test_cells_that_hold_objects_are_no_mistake(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text('anchor,positive\n"{""a"": 1}",b\n"{""a"": 2}",c\n')
    assert len(EmbeddingDataModule(tmp_path / "rows.csv").rows("train")[0]) == 2
