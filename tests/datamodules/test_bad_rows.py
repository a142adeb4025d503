# ruff: noqa: E501 (a case a line)
"""Rows that cannot be used are named by file and line, or left out, counted and listed; nothing makes the reader crash or hang."""

import gzip
import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lightning_embed.datamodules.sources import Source
from lightning_embed.datamodules.sources.bad_rows import BadRows
from lightning_embed.datamodules.sources.opening import open_source
from lightning_embed.datamodules.sources.rows import Rows
from lightning_embed.errors import UserError
from scripts.fuzz_rows import fuzzed

GOOD = {"anchor": "a", "positive": "p"}


@pytest.fixture(autouse=True)
def no_hang() -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        raise TimeoutError("a reader hangs")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def lines(*rows: dict[str, Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def opened(
    folder: Path, content: bytes | str, name: str = "rows.jsonl", share: float | None = None, **given: Any
) -> Rows:
    """Opens rows of that content; with a share, bad ones are skipped."""
    file = folder / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    bad = BadRows() if share is None else BadRows("skip", share)
    rows = open_source(Source(str(file), **given), bad_rows=bad)
    rows.bad = [str(row).replace(f"{folder}/", "") for _, row in bad.found]  # type: ignore[attr-defined]
    return rows


FIRST = lines(GOOD)
CASES: dict[str, tuple[bytes | str, str]] = {
    "broken JSON": (FIRST + "{broken\n", "line 2: expected a JSON object, got '{broken'"),
    "no object": (FIRST + "[1]\n", "line 2: expected a JSON object, got a list of numbers"),
    "null": ("null\n" + FIRST, "line 1: expected a JSON object, got nothing"),
    "null behind a row": (FIRST + '{"anchor": "b", "positive": "p"} null\n', "line 2: expected a JSON object"),
    "half a line": (FIRST + '{"anchor": "a", "posi', "line 2: expected a JSON object"),
    "number": (FIRST + lines(GOOD | {"positive": 3}), "line 2, column 'positive': expected a text, got a number"),
    "number in a list": (FIRST + lines(GOOD | {"negative": ["x", 3]}) + lines(GOOD | {"negative": ["x"]}), "line 2, column 'negative'"),
    "object": (FIRST + lines(GOOD | {"anchor": {"a": 1}}), "line 2, column 'anchor': expected a text, got an object"),
    "blank": (FIRST + "\n\n" + lines(GOOD | {"anchor": " \t\u3000"}), "line 4, column 'anchor': expected a text, got an empty one"),
    "missing": (FIRST + lines({"anchor": "a"}), "line 2, column 'positive': expected a text, got an empty one"),
    "no positive in the list": (lines(GOOD | {"positive": ["p"]}, GOOD | {"positive": []}), "line 2, column 'positive': expected a text, got none"),
    "NaN": (lines(GOOD | {"score": 1}) + '{"anchor": "a", "positive": "p", "score": NaN}\n', "line 2, column 'score': expected a finite number, got nan"),
    "infinite": (lines(GOOD | {"score": 1}) + '{"anchor": "a", "positive": "p", "score": 1e999}\n', "line 2, column 'score': expected a finite number, got inf"),
    "text for a score": (lines(GOOD | {"score": 1}, GOOD | {"score": "x"}), "line 2, column 'score': expected a number, got a text"),
    "too many scores": (lines(GOOD | {"negative": ["n"], "score": [1, 0]}, GOOD | {"negative": ["n"], "score": [1, 0, 0]}), "line 2, column 'score': 3 scores for 1 positive and 1 negatives"),
    "Latin-1": (FIRST.encode() + '{"anchor": "ü", "positive": "p"}\n'.encode("latin-1"), "line 2, column 'anchor': expected UTF-8, got other bytes"),
    "half a pair": (FIRST + '{"anchor": "\\ud83d", "positive": "p"}\n', "line 2: a text holds half a surrogate pair"),
    "NUL byte": (FIRST + '{"anchor": "a\0", "positive": "p"}\n', "line 2: expected a JSON object"),
    "nested without end": (FIRST + "[" * 100_000 + "\n", "line 2: expected a JSON object"),
    "number without end": (FIRST + '{"anchor": ' + "9" * 10_000 + ', "positive": "p"}\n', "line 2"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_bad_row_is_named_by_file_line_and_column_and_can_be_skipped(tmp_path: Path, case: str) -> None:
    content, said = CASES[case]
    with pytest.raises(UserError) as refused:
        opened(tmp_path, content)
    assert f"rows.jsonl, {said}" in str(refused.value) and "on_bad_row: skip" in str(refused.value)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 600
    rows = opened(tmp_path, content, share=1.0)
    assert [f"rows.jsonl, {said}" in bad for bad in rows.bad] == [True]  # type: ignore[attr-defined]
    assert set(rows.take(range(len(rows)))["anchor"]) == {"a"}


@pytest.mark.parametrize(
    ("content", "said", "good"),
    [
        ("anchor,positive\na,b\nc,d,e\nf,g\n", "rows.csv, line 3: expected 2 cells, got 3", ["a", "f"]),
        ("anchor,positive\na,b,x\nc,d,y\nf,g\n", "rows.csv, line 2: expected 2 cells, got 3", ["f"]),
        ('anchor,positive\n"a\nb",b\nc\nf,g\n', "rows.csv, line 4, column 'positive': expected a text", ["a\nb", "f"]),
        ('anchor,positive\na,b\n"c,d\ne,f\n', "rows.csv, line 3: unexpected end of data", ["a", "e"]),
        (b"anchor,positive\na,b\n\xfc,d\ne,f\n", "rows.csv, line 3: expected UTF-8", ["a", "e"]),
    ],
    ids=["too many cells", "no index column", "after a cell of two lines", "open quote", "bytes"],
)
def test_a_bad_line_of_a_csv_costs_no_other(tmp_path: Path, content: bytes | str, said: str, good: list[str]) -> None:
    with pytest.raises(UserError, match=said.replace(".", r"\.")):
        opened(tmp_path, content, "rows.csv")
    rows = opened(tmp_path, content, "rows.csv", share=1.0)
    assert said in rows.bad[0] and rows.take(range(len(rows)))["anchor"] == good  # type: ignore[attr-defined]


def test_a_tsv_by_another_name_is_read_as_one(tmp_path: Path) -> None:
    rows = opened(tmp_path, "anchor\tpositive\na\tb\nc\nd\te\tf\n", "rows.txt", share=1.0, format="tsv")
    assert rows.take(range(len(rows)))["anchor"] == ["a"] and len(rows.bad) == 2  # type: ignore[attr-defined]


def test_the_odd_first_row_is_the_bad_one(tmp_path: Path) -> None:
    rows = opened(tmp_path, lines(GOOD | {"anchor": 3, "label": "x"}, *[GOOD | {"label": 1}] * 5), share=0.5)
    assert len(rows) == 5 and "line 1, column 'anchor': expected a text" in rows.bad[0]  # type: ignore[attr-defined]


def test_other_columns_may_hold_what_they_like(tmp_path: Path) -> None:
    content = lines(GOOD | {"meta": 1}, GOOD | {"meta": "x"}, GOOD | {"meta": [{"a": 1}]}) + "{broken\n"
    rows = opened(tmp_path, content, share=0.5)
    assert len(rows) == 3 and len(rows.bad) == 1  # type: ignore[attr-defined]


def test_lines_keep_their_numbers_where_others_are_left_out(tmp_path: Path) -> None:
    rows = opened(tmp_path, FIRST + "{broken\n" + FIRST + lines(GOOD | {"anchor": ""}), share=1.0)
    assert [bad.split(":")[0] for bad in rows.bad] == ["rows.jsonl, line 2", "rows.jsonl, line 4, column 'anchor'"]  # type: ignore[attr-defined]


def test_a_row_of_an_array_and_of_a_parquet_file_is_named(tmp_path: Path) -> None:
    rows = opened(tmp_path, json.dumps([GOOD, GOOD | {"anchor": ""}]), "rows.json", share=1.0)
    assert rows.bad == ["rows.json, row 2, column 'anchor': expected a text, got an empty one"]  # type: ignore[attr-defined]
    for name in "ab":
        pq.write_table(pa.Table.from_pylist([GOOD] * 3 + [GOOD | {"positive": None}]), tmp_path / f"{name}.parquet")
    bad = BadRows("skip", 1.0)
    assert len(open_source(Source(str(tmp_path / "*.parquet")), bad_rows=bad)) == 6
    assert [Path(row.where).name for _, row in bad.found] == ["a.parquet, row 4", "b.parquet, row 4"]


@pytest.mark.parametrize("column", ["anchor", "positive", "label", "title"])
def test_bytes_in_a_parquet_file_that_are_no_utf_8_are_named(tmp_path: Path, column: str) -> None:
    raw = pa.array([b"good", b"\xff\xfe", b"good"]).cast(pa.binary())
    broken = pa.Array.from_buffers(pa.string(), 3, raw.buffers())
    good = pa.array(["x", "y", "x"])
    columns: dict[str, Any] = {"anchor": good, "positive": good, "label": good}
    columns["positive" if column == "title" else column] = (
        pa.StructArray.from_arrays([broken, good], ["title", "text"]) if column == "title" else broken
    )
    pq.write_table(pa.table(columns), tmp_path / "rows.parquet")
    bad = BadRows("skip", 1.0)
    rows = open_source(Source(str(tmp_path / "rows.parquet")), bad_rows=bad)
    assert len(rows) == 2 and rows.take([0, 1])["anchor"]
    assert "rows.parquet, row 2" in str(bad.found[0][1]) and "expected UTF-8" in str(bad.found[0][1])


@pytest.mark.parametrize(
    "cut", [lambda z: z[: len(z) // 2], lambda z: z[:500] + b"\xff" * 50 + z[550:], lambda z: b"x" + z]
)
def test_a_damaged_archive_is_an_error_whatever_may_be_skipped(tmp_path: Path, cut: Callable[[bytes], bytes]) -> None:
    whole = lines(*[GOOD | {"anchor": f"a{i * i}"} for i in range(5_000)]).encode()
    for share in (None, 1.0):
        with pytest.raises(UserError, match=r"rows\.jsonl\.gz"):
            opened(tmp_path, cut(gzip.compress(whole)), "rows.jsonl.gz", share=share)


def test_more_than_the_share_is_an_error_that_names_the_first(tmp_path: Path) -> None:
    good = [GOOD | {"anchor": f"a{i}"} for i in range(98)]
    content = lines(*good[:9]) + "{one\n" + lines(*good[9:]) + "{two\n"
    assert len(opened(tmp_path, content, share=0.02)) == 98
    said = r"2 of 100 rows cannot be used, more than max_bad_share 0\.01; the first: .*rows\.jsonl, line 10: "
    with pytest.raises(UserError, match=said):
        opened(tmp_path, content, share=0.01)


def test_a_source_without_one_good_row_names_the_first_bad_one(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"not one of its 2 rows can be used; the first: .*line 1: expected a JSON object"
    ):
        opened(tmp_path, "3\n4\n", share=1.0)


def test_a_filter_does_not_hide_unreadable_rows_and_bad_rows_that_it_drops_do_not_count(tmp_path: Path) -> None:
    content = lines(GOOD | {"year": 2020}, GOOD | {"year": 1999, "anchor": ""}) + "{broken\n"
    rows = opened(tmp_path, content, share=0.5, filter=["year > 2000"])
    assert len(rows) == 1 and len(rows.bad) == 1 and "line 3" in rows.bad[0]  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_fuzzed_rows_never_crash_and_the_good_ones_come_through_unharmed(tmp_path: Path, kind: str) -> None:
    checked = fuzzed(tmp_path, kind, rows=2_500, seed=0)
    assert checked.good > 1_000 and checked.bad > 500
