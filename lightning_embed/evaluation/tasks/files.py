"""Evaluation data from a user's files, checked so that no score is of something else than it seems."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_embed.compat.datasets import report_no_loads
from lightning_embed.datamodules.sources.beir import judgements, one_of
from lightning_embed.errors import UserError, first_line

if TYPE_CHECKING:
    from datasets import Dataset

_FORMATS = {".jsonl": "json", ".json": "json", ".csv": "csv", ".tsv": "csv", ".parquet": "parquet"}


@dataclass(frozen=True)
class RetrievalData:
    """A corpus, queries, and which documents are relevant to each."""

    corpus: Dataset
    """Columns id, title, text."""
    queries: Dataset
    """Columns id, text; those that have judgements."""
    relevant: dict[str, dict[str, int]]
    """Query id -> document id -> grade."""
    unjudged: int
    """Queries that were left out because nothing is judged for them."""


def table(path: Path, columns: Sequence[str]) -> Dataset:
    """Reads some columns of a file.

    Args:
        path: JSON lines, CSV, TSV (each also .gz) or Parquet.
        columns: What must be there; others are dropped.

    Raises:
        UserError: The file is missing, empty, of another kind, or lacks a column.
    """
    from datasets import Features, Value, load_dataset
    from datasets.exceptions import DatasetGenerationError

    if not path.is_file():
        raise UserError(f"{path}: no such file")
    kinds = [suffix for suffix in path.suffixes if suffix in _FORMATS]
    if not kinds:
        raise UserError(f"{path}: expected a file named *{', *'.join(_FORMATS)}, also with .gz")
    if path.stat().st_size == 0:
        raise UserError(f"{path}: the file is empty")
    options = {"sep": "\t"} if kinds[-1] == ".tsv" else {}
    report_no_loads()
    try:
        read = load_dataset(_FORMATS[kinds[-1]], data_files=str(path), split="train", **options)
    except (DatasetGenerationError, ValueError, OSError) as error:
        cause = first_line(error.__cause__ or error)
        raise UserError(f"{path}: expected {kinds[-1][1:]} with the columns {', '.join(columns)}: {cause}") from None
    missing = [name for name in columns if name not in read.column_names]
    if missing:
        raise UserError(
            f"{path}: expected the columns {', '.join(columns)}; {', '.join(missing)} not found among "
            f"{', '.join(read.column_names)}"
        )
    if len(read) == 0:
        raise UserError(f"{path}: the file has no rows")
    read = read.select_columns(list(columns))
    texts = {name: Value("string") if name != "score" else read.features[name] for name in columns}
    return read.cast(Features(texts))


def columns_of(path: Path) -> list[str]:
    """The columns of a file's first row; none where it cannot be read.

    Args:
        path: As `table` takes it.
    """
    from datasets import load_dataset

    kinds = [suffix for suffix in path.suffixes if suffix in _FORMATS]
    if not kinds or not path.is_file():
        return []
    options = {"sep": "\t"} if kinds[-1] == ".tsv" else {}
    report_no_loads()
    try:
        stream = load_dataset(_FORMATS[kinds[-1]], data_files=str(path), split="train", streaming=True, **options)
        return list(next(iter(stream), {}))
    except Exception:  # a fault in the file is reported when it is read for a task
        return []


def read_beir(folder: Path, split: str | None = None) -> RetrievalData:
    """Reads corpus.jsonl, queries.jsonl (each also .gz or .zst) and qrels/SPLIT.tsv.

    Args:
        folder: Which.
        split: Of the judgements; None: test, or the only one.

    Raises:
        UserError: A file or column is missing, the corpus is empty, an id appears twice or in the judgements only, or no query is
            judged.
    """
    corpus = _with_ids(_either(folder, "corpus.jsonl"), ("text",), "document")
    queries = _with_ids(_either(folder, "queries.jsonl"), ("text",), "query")
    file = _judgements(folder, split)
    relevant = _read_judgements(file, set(corpus["id"]), set(queries["id"]))
    judged = [row for row, name in enumerate(queries["id"]) if any(relevant.get(name, {}).values())]
    if not judged:
        raise UserError(f"{file}: no query has a relevant document (a score above 0); nothing can be scored")
    kept = queries.select(judged)
    relevant = {name: relevant[name] for name in kept["id"]}
    return RetrievalData(corpus, kept, relevant, len(queries) - len(kept))


def read_query_pairs(path: Path) -> RetrievalData:
    """Reads anchor and positive: each different anchor is a query, each different positive a document, relevant to the anchors of its rows.

    Args:
        path: As `table` takes it.

    Raises:
        UserError: A text is missing, or there is one document only.
    """
    from datasets import Dataset

    pairs = table(path, ("anchor", "positive"))
    relevant: dict[str, dict[str, int]] = {}
    queries: dict[str, str] = {}
    documents: dict[str, str] = {}
    for line, row in enumerate(pairs, start=1):
        _require_texts(path, line, row, ("anchor", "positive"))
        query = queries.setdefault(row["anchor"], f"q{len(queries)}")
        document = documents.setdefault(row["positive"], f"d{len(documents)}")
        relevant.setdefault(query, {})[document] = 1
    if len(documents) < 2:
        raise UserError(f"{path}: at least two different texts are needed in column 'positive', to find one among them")
    texts = {"id": list(documents.values()), "text": list(documents), "title": [""] * len(documents)}
    asked = {"id": list(queries.values()), "text": list(queries)}
    return RetrievalData(Dataset.from_dict(texts), Dataset.from_dict(asked), relevant, 0)


def _either(folder: Path, name: str) -> Path:
    file = one_of(folder, name)
    if file is None:
        raise UserError(f"{folder}: expected {name} (or {name}.gz, {name}.zst), as in BEIR's layout; found none")
    return file


def _with_ids(path: Path, columns: tuple[str, ...], what: str) -> Dataset:
    names = columns_of(path)
    titled = ("title",) if "title" in names and what == "document" else ()
    read = table(path, ("_id", *titled, *columns)).rename_column("_id", "id")
    seen: set[str] = set()
    for line, row in enumerate(read, start=1):
        if row["id"] is None or row["text"] is None:
            raise UserError(f"{path}, line {line}: expected a {what} with _id and text, got {row}")
        if row["id"] in seen:
            raise UserError(f"{path}, line {line}: the {what} id '{row['id']}' appears twice")
        seen.add(row["id"])
    if what == "document":
        titles = [title or "" for title in read["title"]] if titled else [""] * len(read)
        read = (read.remove_columns("title") if titled else read).add_column("title", titles)
    return read


def _judgements(folder: Path, split: str | None) -> Path:
    found = sorted((folder / "qrels").glob("*.tsv"))
    names = [file.stem for file in found]
    wanted = split or ("test" if "test" in names or len(names) != 1 else names[0])
    if wanted not in names:
        raise UserError(f"{folder / 'qrels'}: expected {wanted}.tsv, found {', '.join(names) or 'no .tsv'}")
    return folder / "qrels" / f"{wanted}.tsv"


def _read_judgements(file: Path, documents: set[str], queries: set[str]) -> dict[str, dict[str, int]]:
    relevant: dict[str, dict[str, int]] = {}
    for line, query, document, grade in judgements(file):
        if not grade.is_integer():
            raise UserError(f"{file}, line {line}: expected a whole number as the grade, got {grade}")
        for name, known, where in ((query, queries, "queries.jsonl"), (document, documents, "corpus.jsonl")):
            if name not in known:
                raise UserError(f"{file}, line {line}: the id '{name}' is not in {where}")
        relevant.setdefault(query, {})[document] = int(grade)
    return relevant


def read_pairs(path: Path) -> Dataset:
    """Reads sentence1, sentence2 and score.

    Args:
        path: As `table` takes it.

    Raises:
        UserError: A text or score is missing or no number, there are fewer than 3 pairs, all scores are equal, or each
            pair is one text twice.
    """
    from datasets import Dataset

    rows = []
    for line, row in enumerate(table(path, ("sentence1", "sentence2", "score")), start=1):
        try:
            row["score"] = float(row["score"])
        except (TypeError, ValueError):
            row["score"] = math.nan
        if not math.isfinite(row["score"]):
            raise UserError(f"{path}, row {line}, column 'score': expected a number")
        _require_texts(path, line, row, ("sentence1", "sentence2"))
        rows.append(row)
    if len(rows) < 3 or len({row["score"] for row in rows}) < 2:
        raise UserError(f"{path}: a rank correlation needs 3 pairs and two different scores, got {len(rows)} pairs")
    if all(row["sentence1"] == row["sentence2"] for row in rows):
        raise UserError(f"{path}: sentence1 and sentence2 are the same text in each row, so all cosines are 1")
    return Dataset.from_list(rows)


def read_labelled(path: Path) -> Dataset:
    """Reads text and label.

    Args:
        path: As `table` takes it.

    Raises:
        UserError: A text or label is missing, or there is one class only.
    """
    read = table(path, ("text", "label"))
    for line, row in enumerate(read, start=1):
        _require_texts(path, line, row, ("text", "label"))
    classes = sorted(set(read["label"]))
    if len(classes) < 2:
        raise UserError(f"{path}: at least two classes are needed, got only '{classes[0]}' in column 'label'")
    return read


def _require_texts(path: Path, line: int, row: dict[str, object], columns: Sequence[str]) -> None:
    for name in columns:
        if row[name] is None or not str(row[name]).strip():
            raise UserError(f"{path}, row {line}, column '{name}': expected a text, got nothing")
