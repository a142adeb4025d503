"""Folders in BEIR's layout: corpus.jsonl, queries.jsonl and qrels/SPLIT.tsv, as rows of a query and its relevant documents.

To train on, a row is a query with all its relevant documents. Held out, a row is one judgement, and the other documents of the corpus
are rows of their own.
"""

import heapq
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from lightning_embed.batch import text_key
from lightning_embed.datamodules.sources.files import json_lines, open_text
from lightning_embed.errors import UserError
from lightning_embed.utils.notes import note

GRADE, OTHERS = "_grade", "_others"
"""Columns of held-out rows: how relevant the document is, and how many documents are relevant to no query."""


class Judgement(NamedTuple):
    """How well a document answers a query."""

    line: int
    """Its line, from 1."""
    query: str
    document: str
    grade: float


def one_of(folder: Path, name: str) -> Path | None:
    """A file of a folder, compressed or not; None where there is none.

    Args:
        folder: Any; BEIR's has corpus.jsonl, queries.jsonl and qrels/.
        name: Its name without .gz or .zst.
    """
    return next((f for f in (folder / name, folder / f"{name}.gz", folder / f"{name}.zst") if f.is_file()), None)


def judgements(file: Path) -> Iterator[Judgement]:
    """The lines of qrels/SPLIT.tsv: query, document and grade, or TREC's four columns; a head and blank lines are passed over.

    Args:
        file: The judgements.

    Raises:
        UserError: If a line has another form.
    """
    with open_text(str(file)) as lines:
        for number, line in enumerate(lines, start=1):
            cells = line.rstrip("\r\n").split("\t")
            head = number == 1 and not cells[-1].lstrip("-").replace(".", "", 1).isdigit()
            if head or not line.strip():
                continue
            try:
                query, *iteration, document, grade = cells
                if len(iteration) > 1:
                    raise ValueError
                yield Judgement(number, query, document, float(grade))
            except ValueError:
                raise UserError(
                    f"{file}, line {number}: expected query-id, corpus-id and a number between tabs, got {line.strip()[:60]!r}"
                ) from None


def is_beir(folder: Path) -> bool:
    """Whether a folder has a corpus and queries.

    Args:
        folder: Any; BEIR's has corpus.jsonl, queries.jsonl and qrels/.
    """
    return one_of(folder, "corpus.jsonl") is not None and one_of(folder, "queries.jsonl") is not None


def files(folder: Path, split: str, title: str) -> list[Path]:
    """Corpus, queries and judgements of a folder.

    Args:
        folder: Any; BEIR's has corpus.jsonl, queries.jsonl and qrels/.
        split: Which judgements: qrels/SPLIT.tsv.
        title: The source's name.

    Raises:
        UserError: If one of them is missing.
    """
    found: list[Path] = []
    for name in ("corpus.jsonl", "queries.jsonl"):
        file = one_of(folder, name)
        if file is None:
            raise UserError(f"source '{title}': {folder} has no {name}, which BEIR's layout asks for")
        found.append(file)
    judged = folder / "qrels" / f"{split}.tsv"
    if not judged.is_file():
        there = ", ".join(sorted(f.stem for f in folder.glob("qrels/*.tsv"))) or "none"
        raise UserError(f"source '{title}': no {judged}; give `split` (found: {there})")
    return [*found, judged]


def features(held_out: bool) -> Any:
    """The columns of the rows.

    Args:
        held_out: Whether a row is one judgement.
    """
    from datasets import Features, List, Value

    text = Value("string")
    if held_out:
        return Features({"anchor": text, "positive": text, GRADE: Value("float32")})
    return Features({"anchor": text, "positive": List(text)})


def rows(folder: Path, split: str, title: str, held_out: bool = False) -> Iterator[dict[str, Any]]:
    """A row for each query with at least one document judged above 0: its text, and theirs (title and text).

    Documents without any text are left out.

    Args:
        folder: Any; BEIR's has corpus.jsonl, queries.jsonl and qrels/.
        split: Which judgements.
        title: The source's name.
        held_out: Whether each judgement above 0 is a row instead: the query's text, the document's, and the grade.

    Raises:
        UserError: If a judgement has another form or names an unknown query or document, or none is above 0.
    """
    corpus, queries, judged = files(folder, split, title)
    relevant = _relevant(judged, title)
    wanted = {document for documents in relevant.values() for document in documents}
    texts = {name: text for name, text in _texts(str(corpus), title) if name in wanted}
    asked = {name: text for name, text in _texts(str(queries), title) if name in relevant}
    blank = 0
    for query, documents in relevant.items():
        for known, name, file in ((asked, query, queries), *((texts, document, corpus) for document in documents)):
            if name not in known:
                at = min(one.line for one in documents.values()) if name == query else documents[name].line
                raise UserError(f"source '{title}': {judged}, line {at}: '{name}' is not in {file}")
        found = [(texts[document], one.grade) for document, one in documents.items() if texts[document]]
        blank += len(documents) - len(found)
        if held_out:
            yield from ({"anchor": asked[query], "positive": text, GRADE: grade} for text, grade in found)
        elif found:
            yield {"anchor": asked[query], "positive": [text for text, _ in found]}
    if blank:
        note(f"source '{title}': {blank} judged documents of {corpus} have no text and are left out")


def other_features() -> Any:
    """The columns of `others`."""
    from datasets import Features, Value

    return Features({"positive": Value("string"), OTHERS: Value("int64")})


def others(folder: Path, split: str, title: str, most: int) -> Iterator[dict[str, Any]]:
    """A first row that says how many documents of the corpus are relevant to no query, and then those documents.

    Documents without text are left out.

    Args:
        folder: The folder.
        split: Which judgements.
        title: The source's name.
        most: How many are taken; of more, those whose ids have the least hashes.
    """
    corpus, _, judged = files(folder, split, title)
    relevant = {document for documents in _relevant(judged, title).values() for document in documents}
    keys = [text_key(name) for name, text in _texts(str(corpus), title) if text and name not in relevant]
    taken = set(keys if len(keys) <= most else heapq.nsmallest(most, keys))
    yield {"positive": None, OTHERS: len(keys)}
    for name, text in _texts(str(corpus), title):
        if text and name not in relevant and text_key(name) in taken:
            yield {"positive": text, OTHERS: None}


def _relevant(judged: Path, title: str) -> dict[str, dict[str, Judgement]]:
    """Query -> document -> its judgement, of those above 0."""
    relevant: dict[str, dict[str, Judgement]] = {}
    for one in judgements(judged):
        if one.grade > 0:
            relevant.setdefault(one.query, {})[one.document] = one
    if not relevant:
        raise UserError(f"source '{title}': {judged}: not one judgement is above 0")
    return relevant


def _texts(file: str, title: str) -> Iterator[tuple[str, str]]:
    """Id, and title and text, of each entry."""
    for number, row in json_lines(file):
        if not isinstance(row, dict) or "_id" not in row or not isinstance(row.get("text"), str):
            raise UserError(f"source '{title}': {file}, line {number}: expected an object with _id and text")
        yield str(row["_id"]), f"{row.get('title') or ''} {row['text']}".strip()
