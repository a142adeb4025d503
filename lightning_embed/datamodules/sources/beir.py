"""Folders in BEIR's layout: corpus.jsonl, queries.jsonl and qrels/SPLIT.tsv, as rows of a query and its relevant documents."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from lightning_embed.datamodules.sources.files import json_lines, open_text
from lightning_embed.errors import UserError
from lightning_embed.utils.notes import note


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


def features() -> Any:
    """The columns of the rows."""
    from datasets import Features, List, Value

    return Features({"anchor": Value("string"), "positive": List(Value("string"))})


def rows(folder: Path, split: str, title: str) -> Iterator[dict[str, Any]]:
    """A row for each query with at least one document judged above 0: its text, and theirs (title and text).

    Documents without any text are left out.

    Args:
        folder: Any; BEIR's has corpus.jsonl, queries.jsonl and qrels/.
        split: Which judgements.
        title: The source's name.

    Raises:
        UserError: If a judgement has another form or names an unknown query or document, or none is above 0.
    """
    corpus, queries, judged = files(folder, split, title)
    relevant: dict[str, dict[str, int]] = {}
    for line, query, document, grade in judgements(judged):
        if grade > 0:
            relevant.setdefault(query, {})[document] = line
    if not relevant:
        raise UserError(f"source '{title}': {judged}: not one judgement is above 0")
    wanted = {document for documents in relevant.values() for document in documents}
    texts = _texts(str(corpus), wanted, title)
    asked = _texts(str(queries), set(relevant), title)
    blank = 0
    for query, documents in relevant.items():
        for known, name, file in ((asked, query, queries), *((texts, document, corpus) for document in documents)):
            if name not in known:
                at = min(documents.values()) if name == query else documents[name]
                raise UserError(f"source '{title}': {judged}, line {at}: '{name}' is not in {file}")
        found = [texts[document] for document in documents if texts[document]]
        blank += len(documents) - len(found)
        if found:
            yield {"anchor": asked[query], "positive": found}
    if blank:
        note(f"source '{title}': {blank} judged documents of {corpus} have no text and are left out")


def _texts(file: str, wanted: set[str], title: str) -> dict[str, str]:
    """Id -> title and text of some entries."""
    found = {}
    for number, row in json_lines(file):
        if not isinstance(row, dict) or "_id" not in row or not isinstance(row.get("text"), str):
            raise UserError(f"source '{title}': {file}, line {number}: expected an object with _id and text")
        if str(row["_id"]) in wanted:
            found[str(row["_id"])] = f"{row.get('title') or ''} {row['text']}".strip()
    return found
