"""What the tests of `mine` share: its command line, and pairs with texts that come again."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from lightning_embed.__main__ import main
from tests.toys import toy_pairs


def words(teacher: Path, source: Path, out: Path) -> list[str]:
    return ["--teacher.model", str(teacher), "--source.path", str(source), "--out", str(out)]


def mined(teacher: Path, source: Path, out: Path, *more: str) -> list[dict[str, Any]]:
    """The rows that the command writes."""
    main(["mine", *words(teacher, source, out), *more])
    if out.suffix == ".parquet":
        return pq.read_table(out).to_pylist()
    return [json.loads(line) for line in out.read_text().splitlines()]


def lines(file: Path, rows: list[dict[str, Any]]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def near_pairs() -> list[dict[str, str]]:
    """Pairs with equal anchors, equal positives and anchors that are positives too."""
    rows = toy_pairs(90)
    rows += [
        {"anchor": rows[3]["anchor"], "positive": "w3 w4"},
        {"anchor": rows[5]["anchor"], "positive": rows[6]["positive"]},
    ]
    return [*rows, {"anchor": "w7 w8", "positive": rows[9]["anchor"]}, rows[0]]


def different_texts() -> int:
    """Texts of `near_pairs` that are encoded: different anchors and different positives."""
    return sum(len({row[role] for row in near_pairs()}) for role in ("anchor", "positive"))
