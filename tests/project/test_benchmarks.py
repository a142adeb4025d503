"""The benchmarks run at their smallest, and do the same work on both sides or stop."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import all as every  # noqa: E402
import common  # noqa: E402


def test_ratios_are_of_pairs_of_turns() -> None:
    assert common.paired_ratio([1.0, 2.0, 10.0], [2.0, 4.0, 10.0]) == 2.0


def test_a_part_of_the_document_is_replaced_and_the_rest_kept(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- x -->\nold\n<!-- /x -->\nb\n")
    every.put(page, "x", "new")
    assert page.read_text() == "a\n<!-- x -->\nnew\n<!-- /x -->\nb\n"


def test_the_document_has_a_place_for_every_part() -> None:
    page = (common.DOCS / "performance.md").read_text()
    for name in ("ratios", "machine", "overhead", "startup", "growth"):
        assert page.count(f"<!-- {name} -->") == page.count(f"<!-- /{name} -->") == 1


@pytest.mark.slow
def test_training_and_encoding_do_the_same_work_as_sentence_transformers(tmp_path: Path) -> None:
    names = [*every.training.jobs(True), "encoding"]
    words = ["--quick", "--only", *names, "--out", str(tmp_path)]
    subprocess.run([sys.executable, str(BENCHMARKS / "all.py"), *words], check=True)
    found = json.loads((tmp_path / "bench.json").read_text())["parts"]
    assert list(found) == names and all(row["time"] > 0 for rows in found.values() for row in rows)
    assert every.kept(tmp_path / "bench.json", quick=True) == found and not every.kept(
        tmp_path / "bench.json", quick=False
    )
