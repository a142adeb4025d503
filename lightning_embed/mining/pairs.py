"""Pairs: a source's different anchors and documents, which belong together, and which have a label in common."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_embed.batch import ANCHOR, POSITIVE, text_key
from lightning_embed.datamodules.sources.columns import DOCUMENT, LABEL
from lightning_embed.datamodules.sources.labelled import label_id
from lightning_embed.datamodules.sources.rows import Rows
from lightning_embed.errors import UserError

READ = 4096


class Column:
    """The texts of one role of a source, read by row and place in the row's list.

    Args:
        rows: The source.
        role: Which of its roles.
    """

    def __init__(self, rows: Rows, role: str) -> None:
        self.rows = Rows(rows.source, rows.table, {role: rows.columns[role]}, rows.files, rows.kept)
        self.role = role
        self.prompt = rows.source.prompt_of(role, rows.roles)

    def take(self, rows: NDArray[np.int64], items: NDArray[np.int64]) -> list[str]:
        """The texts at some places.

        Args:
            rows: (n,) row numbers.
            items: (n,) which text of the row's list.
        """
        values = self.rows.take(rows.tolist())[self.role]
        return [value[i] if isinstance(value, list) else value for value, i in zip(values, items, strict=True)]


class Texts:
    """Distinct texts, each kept as the place of its first occurrence; the texts stay on disk.

    Args:
        columns: The columns that hold them.
        keys: (n,) hash of each text.
        places: (n, 3) column, row and item of each.
    """

    def __init__(self, columns: list[Column], keys: NDArray[np.int64], places: NDArray[np.int64]) -> None:
        self.columns, self.keys, self.places = columns, keys, places

    def __len__(self) -> int:
        return len(self.keys)

    def take(self, numbers: Sequence[int] | NDArray[np.integer]) -> list[str]:
        """Some of the texts.

        Args:
            numbers: Which ones, from 0; one may be asked for several times.
        """
        numbers, back = np.unique(np.asarray(numbers, dtype=np.int64), return_inverse=True)
        places = self.places[numbers]
        texts: list[str] = [""] * len(numbers)
        for c, column in enumerate(self.columns):
            here = np.flatnonzero(places[:, 0] == c)
            if len(here):
                for i, text in zip(here, column.take(places[here, 1], places[here, 2]), strict=True):
                    texts[i] = text
        return [texts[i] for i in back]

    def identity(self) -> str:
        """A hash of all texts in order, with how each is prompted and cut."""
        seen = blake2b(self.keys.tobytes() + self.places[:, 0].tobytes(), digest_size=16)
        seen.update(repr([(c.prompt, c.rows.source.max_length) for c in self.columns]).encode())
        return seen.hexdigest()


@dataclass
class _Found:
    """What one pass over a source collects, a list entry for each block of rows."""

    keys: list[NDArray[np.int64]] = field(default_factory=list)
    places: list[NDArray[np.int64]] = field(default_factory=list)

    def add(self, texts: Sequence[str], column: int, rows: NDArray[np.int64], items: NDArray[np.int64]) -> None:
        self.keys.append(np.array([text_key(text) for text in texts], dtype=np.int64))
        self.places.append(np.stack([np.full(len(rows), column), rows, items], axis=1))

    def unique(self, columns: list[Column]) -> tuple[Texts, NDArray[np.int64]]:
        """The different texts in the order in which they come first, and the number of each text that was added."""
        keys = np.concatenate(self.keys)
        _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
        order = np.argsort(first)
        number = np.empty_like(order)
        number[order] = np.arange(len(order))
        places = np.concatenate(self.places)[first[order]]
        return Texts(columns, keys[first[order]], places), number[inverse]


class Tags:
    """Which labels and documents each of n texts has.

    Args:
        owners: (m,) text of each entry.
        tags: (m,) its tag, from 0.
        count: n.
    """

    def __init__(self, owners: NDArray[np.int64], tags: NDArray[np.int64], count: int) -> None:
        entries = np.unique(np.stack([owners, tags], axis=1), axis=0) if len(owners) else np.zeros((0, 2), np.int64)
        self.owners, self.tags = entries[:, 0], entries[:, 1]
        self.starts = np.searchsorted(self.owners, np.arange(count + 1))


@dataclass(frozen=True)
class Pairs:
    """What is mined: A anchors, C documents, P pairs."""

    rows: Rows
    """The source."""
    anchors: Texts
    """A different anchors."""
    corpus: Texts
    """C different documents: the source's positives and the further corpus."""
    anchor: NDArray[np.int64]
    """(P,) each pair's anchor; pairs are different, in the order in which they come first."""
    positive: NDArray[np.int64]
    """(P,) its document."""
    row: NDArray[np.int64]
    """(P,) the source's row in which it first occurs."""
    own: NDArray[np.int64]
    """(A,) the document that has the anchor's very text; -1 if none has."""
    most_positives: int
    """The most rows of an anchor."""
    tags: tuple[Tags, Tags, int] | None
    """Labels and documents of anchors and of the corpus, and how many there are; None without."""

    def belongs(self, anchors: NDArray[np.int64], ids: NDArray[np.integer]) -> NDArray[np.bool_]:
        """(n, k) whether a document is a positive of its anchor, or has its text.

        Args:
            anchors: (n,) which anchors.
            ids: (n, k) documents; below 0: none.
        """
        wanted = anchors[:, None] * len(self.corpus) + ids
        return (_contains(self._known, wanted) | (ids == self.own[anchors][:, None])) & (ids >= 0)

    @cached_property
    def _known(self) -> NDArray[np.int64]:
        return np.unique(self.anchor * len(self.corpus) + self.positive)

    def same_label(self, anchors: NDArray[np.int64], ids: NDArray[np.integer]) -> NDArray[np.bool_]:
        """(n, k) whether a document has a label, or the document that it is a piece of, in common with its anchor.

        Args:
            anchors: (n,) which anchors.
            ids: (n, k) documents; below 0: none.
        """
        if self.tags is None:
            return np.zeros(ids.shape, dtype=bool)
        mine, theirs, count = self.tags
        known = mine.owners * count + mine.tags  # ascending, as the entries are
        flat = np.maximum(ids, 0).ravel().astype(np.int64)
        counts = (theirs.starts[flat + 1] - theirs.starts[flat]) * (ids.ravel() >= 0)
        entry = np.repeat(theirs.starts[flat] - (np.cumsum(counts) - counts), counts) + np.arange(counts.sum())
        cell = np.repeat(np.arange(len(flat)), counts)
        hit = _contains(known, np.repeat(anchors, ids.shape[1])[cell] * count + theirs.tags[entry])
        return np.bincount(cell[hit], minlength=len(flat)).astype(bool).reshape(ids.shape)


def _contains(known: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of some numbers are among sorted ones."""
    if not len(known):
        return np.zeros(wanted.shape, dtype=bool)
    place = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
    return known[place] == wanted


def read_pairs(rows: Rows, corpus: Rows | None = None) -> Pairs:
    """Finds the different texts of a source and what belongs together.

    Args:
        rows: The source; rows of text and label get a positive of their label.
        corpus: Where more documents are: its positives, or else its anchors.

    Raises:
        UserError: If there are not two different documents.
    """
    document = ANCHOR if rows.labelled is not None else POSITIVE
    further = ANCHOR if corpus is not None and POSITIVE not in corpus.columns else POSITIVE
    columns = [Column(rows, document)] + ([] if corpus is None else [Column(corpus, further)])
    anchors, documents = _Found(), _Found()
    tags: dict[str, list[NDArray[np.int64]]] = {"row": [], "more": []}
    pair_row: list[NDArray[np.int64]] = []
    for start, taken in _read(rows):
        n = len(taken[ANCHOR])
        here = np.arange(start, start + n)
        anchors.add([_first(a) for a in taken[ANCHOR]], 0, here, np.zeros(n, dtype=np.int64))
        if rows.labelled is not None:
            partner = rows.labelled.positives(here, 0)
            documents.add([_first(a) for a in taken[ANCHOR]], 0, here, np.zeros(n, dtype=np.int64))
            pair_row.append(partner)
        else:
            pair_row.append(_add_documents(documents, taken[POSITIVE], 0, here))
        tags["row"].append(_tags_of(taken))
    for start, taken in _read(corpus) if corpus is not None else ():
        here = np.arange(start, start + len(taken[further]))
        tags["more"].append(_tags_of(taken)[_add_documents(documents, taken[further], 1, here) - start])
    found, row_anchor = anchors.unique([Column(rows, ANCHOR)])
    different, number = documents.unique(columns)
    if len(different) < 2:
        raise UserError(
            f"source '{rows.source.title}': all its positives are the same text; mining needs a corpus of different ones "
            "(give more with --corpus.path)"
        )
    pair_rows = np.concatenate(pair_row)
    row = np.arange(len(rows)) if rows.labelled is not None else pair_rows
    positive = number[pair_rows] if rows.labelled is not None else number[: len(row)]
    anchor = row_anchor[row]
    _, first = np.unique(anchor * len(different) + positive, return_index=True)
    first.sort()
    row_tags = np.concatenate(tags["row"])
    document_tags = np.concatenate([row_tags if rows.labelled is not None else row_tags[row], *tags["more"]])
    return Pairs(
        rows, found, different, anchor[first], positive[first], row[first], _own(found, different),
        int(np.bincount(anchor).max()), _join(row_anchor, row_tags, len(found), number, document_tags, len(different)),
    )  # fmt: skip


def _read(rows: Rows) -> Iterator[tuple[int, dict[str, list[Any]]]]:
    for start in range(0, len(rows), READ):
        yield start, rows.take(range(start, min(start + READ, len(rows))))


def _first(value: Any) -> str:
    return value[0] if isinstance(value, list) else value


def _add_documents(found: _Found, values: list[Any], column: int, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Adds each row's document or documents; returns the row of each."""
    lists = [value if isinstance(value, list) else [value] for value in values]
    owner = np.repeat(rows, [len(texts) for texts in lists])
    items = np.concatenate([np.arange(len(texts)) for texts in lists])
    found.add([text for texts in lists for text in texts], column, owner, items)
    return owner


def _tags_of(taken: dict[str, list[Any]]) -> NDArray[np.int64]:
    """(n, 2) label and document of each row, by hash and kind; -1 where it has none."""
    n = len(next(iter(taken.values())))
    tags = np.full((n, 2), -1, dtype=np.int64)
    for kind, role in enumerate((LABEL, DOCUMENT)):
        if role in taken:
            tags[:, kind] = [text_key(f"{role} {label_id(value)}") & 0x7FFFFFFFFFFFFFFF for value in taken[role]]
    return tags


def _own(anchors: Texts, corpus: Texts) -> NDArray[np.int64]:
    order = np.argsort(corpus.keys)
    place = np.minimum(np.searchsorted(corpus.keys[order], anchors.keys), len(order) - 1)
    return np.where(corpus.keys[order[place]] == anchors.keys, order[place], -1)


def _join(
    row_anchor: NDArray[np.int64],
    row_tags: NDArray[np.int64],
    anchors: int,
    number: NDArray[np.int64],
    document_tags: NDArray[np.int64],
    documents: int,
) -> tuple[Tags, Tags, int] | None:
    """The tags of anchors and documents, numbered."""
    known, codes = np.unique(np.concatenate([row_tags.ravel(), document_tags.ravel()]), return_inverse=True)
    if len(known) == 1 and known[0] == -1:
        return None
    some = known[codes] != -1
    cut = row_tags.size
    mine, theirs = np.repeat(row_anchor, 2), np.repeat(number, 2)
    return (
        Tags(mine[some[:cut]], codes[:cut][some[:cut]], anchors),
        Tags(theirs[some[cut:]], codes[cut:][some[cut:]], documents),
        len(known),
    )
