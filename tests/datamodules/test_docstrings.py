from pathlib import Path

import pyarrow.parquet as pq
import pytest

from lightning_embed.datamodules import PythonDocs
from lightning_embed.datamodules.docstrings.corpus import SPLITS, build, without_boilerplate, without_near_duplicates
from lightning_embed.errors import UserError

SUBJECTS = ["river", "mountain", "engine", "planet", "violin", "harbour", "glacier", "orchard", "lantern", "compass"]
VERBS = ["measures", "describes", "sorts", "compares", "follows", "collects"]


def package(root: Path, modules: int = 30) -> Path:
    """A package whose modules must not run, with two documented functions each."""
    folder = root / "toys"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text('raise SystemExit("imported")\n')
    for m in range(modules):
        thing, verb = SUBJECTS[m % 10], VERBS[m % 6]
        body = [
            f"def f{k}():\n"
            f'    """{verb.capitalize()} the {thing} number {m} of kind {k} for visitors.\n\n'
            f"    The {thing} of row {m} stands near the {SUBJECTS[(m * 7 + k) % 10]} and {verb} what {m * 31 + k} guests left;\n"
            f"    later the {SUBJECTS[(m + 3 * k) % 10]} {m + k} is closed and nobody {VERBS[(m + k) % 6]} it before winter {m * k}.\n"
            f'    """\n'
            for k in range(2)
        ]
        (folder / f"m{m}.py").write_text('raise SystemExit("imported")\n' + "\n".join(body))
    (folder / "broken.py").write_text("def (:\n")
    (folder / "latin.py").write_bytes(b'"""caf\xe9 has no declared encoding, and is skipped."""\n')
    return root


def rows(folder: Path) -> dict[str, list[dict[str, str]]]:
    return {split: pq.read_table(folder / f"{split}.parquet").to_pylist() for split in SPLITS}


def make(tmp_path: Path, cache: str = "cache") -> Path:
    return build(tmp_path / cache, ["toys"], search_path=[str(tmp_path / "src")])


def test_docstrings_are_read_without_importing_and_split_by_module(tmp_path: Path) -> None:
    package(tmp_path / "src")
    splits = rows(make(tmp_path))
    modules = [{row["module"] for row in splits[split]} for split in SPLITS]
    assert all(modules) and not modules[0] & modules[1] and not modules[0] & modules[2] and not modules[1] & modules[2]
    row = splits["train"][0]
    assert row["name"].startswith("toys.m") and "visitors" in row["anchor"] and "winter" in row["positive"]


def test_the_same_packages_give_the_same_rows_and_are_read_once(tmp_path: Path) -> None:
    package(tmp_path / "src")
    first, second = make(tmp_path), make(tmp_path, "other")
    assert rows(first) == rows(second) and first.name == second.name
    before = (first / "train.parquet").stat().st_mtime_ns
    assert make(tmp_path) == first and (first / "train.parquet").stat().st_mtime_ns == before
    assert build(tmp_path / "cache", ["toys"], 20, [str(tmp_path / "src")]) != first


def test_a_text_that_stands_with_many_others_is_boilerplate() -> None:
    template = [{"anchor": "Same summary.", "positive": f"text {i}"} for i in range(3)]
    assert without_boilerplate([*template, {"anchor": "Own.", "positive": "words"}]) == [
        {"anchor": "Own.", "positive": "words"}
    ]


def test_of_two_near_duplicates_one_stays() -> None:
    text = "the quick brown fox jumps over the lazy dog near the old river bank every single morning"
    twins = [{"anchor": f"A {i}", "positive": f"{text} {i}"} for i in range(2)]
    assert (
        len(
            without_near_duplicates(
                [*twins, {"anchor": "B", "positive": "something else entirely happens in this text"}]
            )
        )
        == 2
    )


def test_a_package_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nosuch"):
        build(tmp_path, ["nosuch"])


def test_the_data_module_has_the_three_splits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package(tmp_path / "src")
    monkeypatch.syspath_prepend(str(tmp_path / "src"))
    data = PythonDocs(packages=["toys"], cache_dir=str(tmp_path / "cache"), global_batch_size=4)
    assert {split: data.rows(split)[0].roles for split in SPLITS} == {split: {"anchor", "positive"} for split in SPLITS}
