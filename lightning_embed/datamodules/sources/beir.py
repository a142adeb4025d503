"""Folders in BEIR's layout: corpus.jsonl, queries.jsonl and qrels/SPLIT.tsv, as rows of a query and its relevant documents.

To train on, a row is a query with all its relevant documents. Held out, a row is one judgement, and the other documents of the corpus
are rows of their own.
"""

import heapq
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from lightning_embed.batch import text_key
from lightning_embed.datamodules.sources.files import broken_file, json_lines, open_text
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


class Entry(NamedTuple):
    """A document or a query."""

    line: int
    """Its line, from 1."""
    name: str
    """Its id."""
    text: str
    """Title and text."""


def entries(file: str, who: str = "", key: str = "text") -> Iterator[Entry]:
    """The lines of corpus.jsonl or queries.jsonl: `_id` (or `id`), `text`, and perhaps `title`, which is put in front of the text.

    Args:
        file: JSON lines, compressed or not.
        who: What begins the message of an error.
        key: The key of the text.

    Raises:
        UserError: If a line has another form.
    """
    for number, row in json_lines(file):
        name = row.get("_id", row.get("id")) if isinstance(row, dict) else None
        if name is None or not isinstance(row.get(key), str):
            raise UserError(f"{who}{file}, line {number}: expected an object with _id and {key}")
        yield Entry(number, str(name), joined(row, key))


def joined(row: dict[str, Any], key: str = "text") -> str:
    """Title and text of an entry as one text.

    Args:
        row: With a text and perhaps a `title`.
        key: The key of the text.
    """
    return f"{row.get('title') or ''} {row[key]}".strip()


def is_corpus(file: str) -> bool:
    """Whether a file is the corpus of BEIR's layout: by its name, and by the keys of its first line.

    Args:
        file: Its path.
    """
    if Path(file).name not in ("corpus.jsonl", "corpus.jsonl.gz", "corpus.jsonl.zst"):
        return False
    try:
        _, row = next(json_lines(file), (0, None))
    except broken_file():
        return False  # its reader will say what is wrong
    return isinstance(row, dict) and {"_id", "text"} <= set(row)


def corpus_texts(files: list[str], title: str) -> Iterator[dict[str, str]]:
    """A row for each document: its title and text, as texts alone. Documents without any text are left out.

    Args:
        files: In the form of corpus.jsonl.
        title: The source's name.

    Raises:
        UserError: If a line has another form.
    """
    blank = 0
    for file in files:
        for entry in entries(file, f"source '{title}': "):
            if entry.text:
                yield {"anchor": entry.text}
            blank += not entry.text
    if blank:
        note(f"source '{title}': {blank} documents of {', '.join(files)} have no text and are left out")


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


def corpus_features() -> Any:
    """The columns of `corpus_texts`."""
    from datasets import Features, Value

    return Features({"anchor": Value("string")})


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
    who = f"source '{title}': "
    texts = {one.name: one.text for one in entries(str(corpus), who) if one.name in wanted}
    asked = {one.name: one.text for one in entries(str(queries), who) if one.name in relevant}
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
    who = f"source '{title}': "
    keys = [text_key(one.name) for one in entries(str(corpus), who) if one.text and one.name not in relevant]
    taken = set(keys if len(keys) <= most else heapq.nsmallest(most, keys))
    yield {"positive": None, OTHERS: len(keys)}
    for one in entries(str(corpus), who):
        if one.text and one.name not in relevant and text_key(one.name) in taken:
            yield {"positive": one.text, OTHERS: None}


def _relevant(judged: Path, title: str) -> dict[str, dict[str, Judgement]]:
    """Query -> document -> its judgement, of those above 0."""
    relevant: dict[str, dict[str, Judgement]] = {}
    for one in judgements(judged):
        if one.grade > 0:
            relevant.setdefault(one.query, {})[one.document] = one
    if not relevant:
        raise UserError(f"source '{title}': {judged}: not one judgement is above 0")
    return relevant
