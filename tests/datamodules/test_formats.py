"""Every format gives the same rows, whatever its compression, folder, block sizes or guesses of a fast reader."""

import gzip
import json
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from lightning_embed.datamodules.collate import text_batch
from lightning_embed.datamodules.plan import Plan
from lightning_embed.datamodules.sources import Source, formats
from lightning_embed.datamodules.sources.bad_rows import BadRows
from lightning_embed.datamodules.sources.opening import open_source
from lightning_embed.datamodules.sources.rows import Rows
from lightning_embed.datamodules.sources.table import Table
from lightning_embed.errors import UserError

STRANGE = [
    "ü🙂 naïve",
    "مرحبا بالعالم",
    "שלום \u200f עולם",
    "👩‍👩‍👧‍👦 e\u0301 é",
    "null",
    "007",
    'a "quoted", text',
    "two\nlines",
    "tab\there",
    "\u2028 \u0085 \ufeff x",
    "x" * 200_000,
    "𝕏" * 50_000,
]
ROWS = [{"anchor": f"{i} {text}", "positive": text} for i, text in enumerate(STRANGE)]


def json_lines(rows: list[dict[str, Any]], ascii_only: bool = True) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=ascii_only) + "\n" for row in rows).encode()


def separated(sep: str) -> str:
    def cell(text: str) -> str:
        return '"' + text.replace('"', '""') + '"'

    lines = [("anchor", "positive"), *(row.values() for row in ROWS)]
    return "".join(sep.join(map(cell, line)) + "\n" for line in lines)


def written(folder: Path, kind: str) -> Path:
    file = folder / f"rows.{kind}"
    whole = json_lines(ROWS)
    contents = {
        "jsonl": json_lines(ROWS, ascii_only=False),
        "ascii.jsonl": whole,
        "bom.jsonl": b"\xef\xbb\xbf" + whole,
        "crlf.JSONL": whole.replace(b"\n", b"\r\n"),
        "json": json.dumps(ROWS).encode(),
        "lines.json": json.dumps(ROWS, indent=1).encode(),
        "jsonl.gz": gzip.compress(whole),
        "jsonl.zst": zstandard.compress(whole),
        "csv": separated(",").encode(),
        "bom.csv": b"\xef\xbb\xbf" + separated(",").encode(),
        "tsv": separated("\t").encode(),
        "csv.gz": gzip.compress(separated(",").encode()),
    }
    if kind in contents:
        file.write_bytes(contents[kind])
    elif kind == "parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), file, row_group_size=5)
    elif kind == "arrow":
        table = pa.Table.from_pylist(ROWS)
        with pa.OSFile(str(file), "wb") as out, pa.ipc.new_stream(out, table.schema) as stream:
            stream.write_table(table, max_chunksize=5)
    elif kind == "saved":
        datasets.Dataset.from_list(ROWS).save_to_disk(str(file), num_shards=3)
    else:
        datasets.DatasetDict({"train": datasets.Dataset.from_list(ROWS)}).save_to_disk(str(file))
    return file


KINDS = [
    *("jsonl", "ascii.jsonl", "bom.jsonl", "crlf.JSONL", "json", "lines.json", "jsonl.gz", "jsonl.zst"),
    *("csv", "bom.csv", "tsv", "csv.gz", "parquet", "arrow", "saved", "saved splits"),
]


@pytest.mark.parametrize("kind", KINDS)
def test_every_format_gives_every_text_unharmed(tmp_path: Path, kind: str) -> None:
    rows = open_source(Source(str(written(tmp_path, kind))))
    order = [5, 0, *range(len(ROWS)), 5]
    assert rows.take(order) == {role: [ROWS[i][role] for i in order] for role in ("anchor", "positive")}


@pytest.mark.parametrize("kind", ["jsonl", "json", "csv", "tsv", "jsonl.gz", "jsonl.zst"])
def test_the_careful_reader_gives_the_same_rows(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def stumbles(name: str, files: list[str]) -> None:
        raise ValueError("Couldn't cast")

    monkeypatch.setattr(formats, "_load", stumbles)
    rows = open_source(Source(str(written(tmp_path, kind))))
    assert rows.take(range(len(ROWS))) == {role: [row[role] for row in ROWS] for role in ("anchor", "positive")}


def opened(folder: Path, name: str, content: bytes | str, **settings: Any) -> Rows:
    file = folder / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return open_source(Source(str(file), **settings))


@pytest.mark.parametrize(
    ("early", "late"),
    [({}, {"negative": ["n"]}), ({"negative": None}, {"negative": ["n"]}), ({"negative": []}, {"negative": ["n"]}),
     ({"score": 1}, {"score": 0.5}), ({"meta": 1}, {"meta": {"a": "b"}})],
    ids=["key comes late", "null before", "empty before", "whole before", "other columns"],
)  # fmt: skip
def test_what_the_first_megabytes_hold_does_not_bind_the_rest(
    tmp_path: Path, early: dict[str, Any], late: dict[str, Any]
) -> None:
    pair = {"anchor": "a" * 5000, "positive": "p"}
    rows = opened(tmp_path, "rows.jsonl", json_lines([pair | early] * 2500 + [pair | late] * 3))
    taken = rows.take([0, 2502])
    assert len(rows) == 2503 and taken["positive"] == ["p", "p"]
    if "negative" in late:
        assert taken["negative"] == [[], ["n"]]
    if "score" in late:
        assert taken["score"] == [1, 0.5]


def test_numbers_in_a_csv_are_texts_where_texts_are_asked_for(tmp_path: Path) -> None:
    head = "anchor,positive,score\n"
    rows = opened(tmp_path, "rows.csv", head + "007,1e3,0.5\n" * 20_000 + "foo,bar,1\n", filter=["score > 0.7"])
    assert len(rows) == 1 and rows.take([0]) == {"anchor": ["foo"], "positive": ["bar"], "score": ["1"]}
    assert text_batch(rows, Plan((1,), (1,))[0]).score == {"positive": [1.0]}
    assert opened(tmp_path, "r.csv", head + "007,1e3,1\n").take([0])["anchor"] == ["007"]


def test_tevatron_passages_are_title_and_text(tmp_path: Path) -> None:
    row = {
        "query_id": "1",
        "query": "q",
        "positive_passages": [{"docid": "3", "title": "T", "text": "p"}, {"docid": "4", "title": "", "text": "r"}],
        "negative_passages": [{"docid": "5", "title": None, "text": "n"}],
    }
    for name, content in (("rows.jsonl", json_lines([row])), ("mixed.jsonl", json_lines([row]) + b'{"query": 3}\n')):
        (tmp_path / name).write_bytes(content)
        rows = open_source(Source(str(tmp_path / name)), bad_rows=BadRows("skip", 1.0))
        assert rows.take([0]) == {"anchor": ["q"], "positive": [["T p", "r"]], "negative": [["n"]]}


def test_flag_embedding_rows_keep_their_scores(tmp_path: Path) -> None:
    row = {"query": "q", "pos": ["p"], "neg": ["m", "n"], "score": [0.9, 0.1, 0.2], "prompt": "x"}
    rows = opened(tmp_path, "rows.jsonl", json_lines([row]))
    assert text_batch(rows, Plan((1,), (1,))[0]).score == {"positive": [0.9], "negative": [0.1, 0.2]}


def beir(folder: Path, judged: str) -> Path:
    (folder / "qrels").mkdir(parents=True)
    documents = [{"_id": f"d{i}", "title": "T" if i else "", "text": f"text {i}"} for i in range(4)]
    (folder / "corpus.jsonl.gz").write_bytes(gzip.compress(json_lines(documents)))
    (folder / "queries.jsonl").write_bytes(json_lines([{"_id": f"q{i}", "text": f"query {i}"} for i in range(3)]))
    (folder / "qrels" / "train.tsv").write_text(judged)
    return folder


def test_a_beir_folder_gives_each_query_its_relevant_documents(tmp_path: Path) -> None:
    folder = beir(tmp_path / "set", "query-id\tcorpus-id\tscore\nq0\td1\t1\nq0\td0\t2\nq1\td2\t0\nq2\td3\t1\n")
    rows = open_source(Source(str(folder)))
    assert rows.take([0, 1]) == {
        "anchor": ["query 0", "query 2"],
        "positive": [["T text 1", "text 0"], ["T text 3"]],
    }


@pytest.mark.parametrize(
    ("judged", "said"),
    [
        ("q0\td9\t1\n", "line 1: 'd9' is not in"),
        ("q0\td1\t1\nq0 d1 1\n", "line 2: expected query-id"),
        ("q0\td1\t1\n1\t2\n", "line 2: expected query-id"),
        ("q0\td1\t0\n", "above 0"),
    ],
)
def test_what_is_wrong_in_a_beir_folder_is_named(tmp_path: Path, judged: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        open_source(Source(str(beir(tmp_path / "set", judged))))


def test_several_files_and_globs_are_one_source_in_order(tmp_path: Path) -> None:
    for i in range(3):
        (tmp_path / f"part-{i}.jsonl").write_bytes(json_lines([{"anchor": f"a{i}", "positive": "p"}] * 2))
    rows = open_source(Source([str(tmp_path / "part-[12].jsonl"), str(tmp_path / "part-0.jsonl")]))
    assert rows.take(range(6))["anchor"] == ["a1", "a1", "a2", "a2", "a0", "a0"]


def test_columns_by_order_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = opened(tmp_path, "rows.csv", "frage,antwort\nq,a\n")
    assert rows.take([0]) == {"anchor": ["q"], "positive": ["a"]}
    assert "taken by order: columns: {anchor: frage, positive: antwort}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "content", "settings", "said"),
    [
        ("rows.txt", "x", {}, "expected a file named"),
        ("rows.csv", "anchor,anchor\na,b\n", {}, "the column 'anchor' appears twice"),
        ("rows.jsonl", '{"a": "x"}\n', {"columns": {"anchor": "b"}}, "'b', which is not among the columns found: a"),
        ("rows.jsonl", '{"a": "x"}\n', {"columns": {"query": "a"}}, "has the role 'query'; expected anchor"),
        ("rows.csv", "anchor,positive\n", {}, "no rows in"),
        ("rows.jsonl", '{"anchor": "a"}\n', {"format": "beir"}, "beir needs one folder"),
        ("rows.parquet", "no parquet", {}, "rows.parquet is a text and no Parquet file"),
        ("rows.arrow", "no arrow", {}, "rows.arrow is a text and no Arrow file"),
    ],
)
def test_what_cannot_be_a_source_is_refused(
    tmp_path: Path, name: str, content: str, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError, match=said) as refused:
        opened(tmp_path, name, content, **settings)
    assert "\n" not in str(refused.value)


def test_the_parquet_file_that_lacks_a_column_is_named(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "a.parquet")
    pq.write_table(pa.Table.from_pylist([{"anchor": "a"}]), tmp_path / "b.parquet")
    with pytest.raises(UserError, match=r"b\.parquet, row 1, column 'positive': expected a text, got an empty one"):
        open_source(Source(str(tmp_path / "*.parquet")))


def test_the_broken_one_of_several_shards_is_named(tmp_path: Path) -> None:
    for name in "ab":
        pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / f"{name}.parquet")
    data = bytearray((tmp_path / "b.parquet").read_bytes())
    data[200:2000] = bytes(1800)
    (tmp_path / "b.parquet").write_bytes(data)
    with pytest.raises(UserError, match=r"source 'a': [^,]*b\.parquet could not be read as parquet"):
        open_source(Source([str(tmp_path / "a.parquet"), str(tmp_path / "b.parquet")]))


def test_a_table_takes_rows_in_any_order_across_files_and_lets_the_pages_go(tmp_path: Path) -> None:
    made = datasets.Dataset.from_dict({"n": list(range(5_000)), "text": [f"t{i}" for i in range(5_000)]})
    made.save_to_disk(str(tmp_path / "d"), num_shards=3)
    table = Table.of(datasets.load_from_disk(str(tmp_path / "d")))
    assert len(table) == 5_000 and len(table.files) == 3
    for start in range(0, 5_000, 500):
        rows = [(start + 1_667 * i) % 5_000 for i in range(500)]
        assert table.take(rows, ["text", "n"]) == {"text": [f"t{i}" for i in rows], "n": rows}
    assert [n for batch in table.batches(["n"]) for n in batch.column(0).to_pylist()] == list(range(5_000))


def test_a_part_of_a_data_set_is_a_table_of_that_part(tmp_path: Path) -> None:
    datasets.Dataset.from_dict({"n": list(range(100))}).save_to_disk(str(tmp_path / "d"))
    saved = datasets.load_from_disk(str(tmp_path / "d"))
    assert Table.of(saved.select([7, 3])).take([0, 1], ["n"]) == {"n": [7, 3]}
    part = datasets.Dataset(saved.data.slice(10, 20))
    assert Table.of(part).take([0, 19], ["n"]) == {"n": [10, 29]}


def test_a_file_that_shrinks_while_it_is_read_is_named(tmp_path: Path) -> None:
    datasets.Dataset.from_list(ROWS).save_to_disk(str(tmp_path / "d"))
    rows = open_source(Source(str(tmp_path / "d")))
    file = next((tmp_path / "d").glob("*.arrow"))
    with file.open("r+b") as opened_file:
        opened_file.truncate(1000)
    with pytest.raises(UserError, match=r"arrow became smaller while it was being read"):
        rows.take([0])
