"""A source's texts: how long they are, what is cut off them, and which come more than once. A sample, where there are many."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_embed.batch import ANCHOR, NEGATIVE, POSITIVE, ROLES
from lightning_embed.datamodules.collate import text_batch
from lightning_embed.datamodules.plan import Step
from lightning_embed.datamodules.sources.opening import BAD
from lightning_embed.datamodules.sources.rows import Rows
from lightning_embed.doctor.facts import Repeats, RoleFacts, SourceFacts
from lightning_embed.tokenizer import TextTokenizer

MEASURED_ROWS, MEASURED_CHARACTERS = 2_000, 4_000_000
"""Rows that are tokenised, and the most characters of them."""
SCANNED_ROWS, SCANNED_CHARACTERS = 100_000, 200_000_000
"""Rows that are searched for repeated texts, and the most characters of them."""
WINDOW = 256
BINS = 16
TINY_CLASS = 5
"""Rows of a label, below which its rows meet the same few positives over and over."""


def windows(rows: int, most: int, window: int) -> list[range]:
    """Ranges of row numbers, spread evenly: all rows, or about `most` of them.

    Args:
        rows: How many there are.
        most: How many to take.
        window: Rows of a range.
    """
    if rows <= most:
        return [range(start, min(start + window, rows)) for start in range(0, rows, window)]
    count = max(1, most // window)
    starts = np.linspace(0, rows - window, count).astype(int).tolist()
    return [range(start, start + window) for start in dict.fromkeys(starts)]


def within(row_characters: float, rows: int, characters: int) -> int:
    """How many rows to read so that they are at most so many characters.

    Args:
        row_characters: Mean characters of a row.
        rows: The most rows.
        characters: The most characters.
    """
    return max(1, min(rows, int(characters / max(1.0, row_characters))))


def histogram(lengths: NDArray[np.int64], bins: int = BINS) -> list[int]:
    """How many texts there are in each of some ranges from 1 token to the longest, all of equally many lengths.

    Args:
        lengths: (n,) tokens of each text.
        bins: The most ranges.
    """
    most = max(1, int(lengths.max()))
    width = -(-most // bins)
    return np.bincount((np.maximum(lengths, 1) - 1) // width, minlength=-(-most // width)).tolist()


def role_facts(
    role: str, columns: list[str], texts: Sequence[str], prompt: str, tokenizer: TextTokenizer, max_length: int | None
) -> RoleFacts:
    """Lengths, cuts and an example of some texts.

    Args:
        role: Their role.
        columns: Columns that it is read from.
        texts: At least one.
        prompt: Name of their prompt.
        tokenizer: The student's.
        max_length: Tokens after which their source cuts them; None: the tokenizer's.
    """
    limit = min(max_length or tokenizer.max_length, tokenizer.max_length)
    tokens, lost = tokenizer.encode(texts, prompt, limit)
    lengths = tokens.lengths.numpy() + np.array(lost, dtype=np.int64)
    prompt_text = tokenizer.prompts.get(prompt, "")
    return RoleFacts(
        role=role,
        columns=columns,
        prompt=prompt,
        prompt_text=prompt_text,
        texts=len(texts),
        histogram=histogram(lengths),
        least=int(lengths.min()),
        median=int(np.median(lengths)),
        most_of_them=int(np.quantile(lengths, 0.95, method="inverted_cdf")),
        most=int(lengths.max()),
        max_length=limit,
        cut=float(np.mean(np.array(lost) > 0)),
        lost=float(sum(lost) / max(1, lengths.sum())),
        example=prompt_text + texts[0],
        example_tokens=int(lengths[0]),
    )


def find_repeats(rows: Iterable[dict[str, list[Any]]]) -> Repeats:
    """Counts repeated texts.

    Args:
        rows: Role -> values of some rows, as `Rows.take` gives them.
    """
    seen: dict[str, set[Any]] = {"row": set(), ANCHOR: set(), POSITIVE: set()}
    counts = dict.fromkeys(("rows", "row", ANCHOR, POSITIVE, "own", "false_negative"), 0)
    for taken in rows:
        columns = [[_keys(cell) for cell in taken[role]] for role in ROLES if role in taken]
        named = dict(zip([role for role in ROLES if role in taken], columns, strict=True))
        for i, whole in enumerate(zip(*columns, strict=True)):
            counts["rows"] += 1
            for what, key in (
                ("row", whole),
                *((role, named[role][i]) for role in (ANCHOR, POSITIVE) if role in named),
            ):
                counts[what] += key in seen[what]
                seen[what].add(key)
            anchor, positive, negative = (set(named[role][i]) if role in named else set() for role in ROLES)
            counts["own"] += bool(anchor & positive)
            counts["false_negative"] += bool(negative & (anchor | positive))
    return Repeats(**counts)


def _keys(cell: str | list[str]) -> tuple[int, ...]:
    """Hashes of a cell's texts, which take less room than they."""
    return tuple(hash(text) for text in (cell if isinstance(cell, list) else [cell]))


def characters(taken: dict[str, list[Any]]) -> NDArray[np.int64]:
    """(n,) characters of each row's texts; of several positives their mean counts.

    Args:
        taken: Role -> values, as `Rows.take` gives them.
    """
    total = np.zeros(len(next(iter(taken.values()))), dtype=np.int64)
    for role in (role for role in ROLES if role in taken):
        for i, cell in enumerate(taken[role]):
            sizes = [len(text) for text in cell] if isinstance(cell, list) else [len(cell)]
            total[i] += sum(sizes) if role == NEGATIVE else sum(sizes) // max(1, len(sizes))
    return total


def scan(rows: Rows) -> tuple[Repeats, NDArray[np.int64] | None]:
    """Repeated texts, and the characters of each row where all rows were read.

    Args:
        rows: An opened source.
    """
    first = characters(rows.take(range(min(WINDOW, len(rows)))))
    parts: list[NDArray[np.int64]] = []
    chosen = windows(len(rows), within(float(first.mean()), SCANNED_ROWS, SCANNED_CHARACTERS), 4 * WINDOW)

    def read() -> Iterable[dict[str, list[Any]]]:
        for numbers in chosen:
            taken = rows.take(numbers)
            parts.append(characters(taken))
            yield taken

    repeats = find_repeats(read())
    whole = repeats.rows == len(rows)
    return repeats, np.concatenate(parts) if whole and rows.labelled is None else None


def source_facts(rows: Rows, split: str, tokenizer: TextTokenizer, repeats: Repeats, left_out: int) -> SourceFacts:
    """What a source holds, its texts measured as training reads them in its first epoch.

    Args:
        rows: An opened source.
        split: Whose it is.
        tokenizer: The student's.
        repeats: What `scan` found.
        left_out: Rows that cannot be used.
    """
    source = rows.source
    first = text_batch(rows, Step(0, np.arange(min(64, len(rows))), 0))
    mean = sum(len(text) for texts in first.texts.values() for text in texts) / len(first)
    count = within(mean, min(MEASURED_ROWS, len(rows)), MEASURED_CHARACTERS)
    numbers = np.unique(np.linspace(0, len(rows) - 1, count).astype(np.int64))
    texts: dict[str, list[str]] = {}
    for start in range(0, len(numbers), WINDOW):
        for role, column in text_batch(rows, Step(0, numbers[start : start + WINDOW], 0)).texts.items():
            texts.setdefault(role, []).extend(column)
    roles = [
        role_facts(
            role,
            rows.columns.get(role, []),
            texts[role],
            source.prompt_of(role, rows.roles),
            tokenizer,
            source.max_length,
        )
        for role in ROLES
        if texts.get(role)
    ]
    classes = rows.labelled.counts if rows.labelled is not None else np.zeros(0, dtype=np.int64)
    return SourceFacts(
        split=split,
        title=source.title,
        files=rows.files,
        task=source.task or "retrieval",
        rows=len(rows),
        sampled=len(numbers),
        roles=roles,
        columns={role: columns[0] for role, columns in rows.columns.items() if role not in ROLES},
        unused=list(rows.content.unused),
        repeats=repeats,
        classes=len(classes),
        tiny_classes=int((classes < TINY_CLASS).sum()),
        left_out=left_out,
        not_taken={why: count for why, count in rows.content.left_out.items() if why != BAD},
        without_negatives=rows.content.without_negatives,
        characters=mean,
    )
