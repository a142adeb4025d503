"""What docstrings teach besides retrieval: pairs scored by how near they are in the code, and texts labelled by where they are.

Both come from names alone, so no model has a say in them.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any

from lightning_embed.datamodules.docstrings.corpus import Row

SCORES = {"docstring": 1.0, "class": 0.75, "module": 0.5, "package": 0.25, "elsewhere": 0.0}
"""What two texts share at most -> their score: a first sentence and the rest of its docstring; two docstrings of one class (itself
among them), of one module, of one package, of two packages."""

TRIES = 50
"""Rows of a place that are looked at for one that is not nearer than the place."""


def scored_pairs(rows: Sequence[Row], limit: int) -> list[dict[str, Any]]:
    """Pairs of a first sentence and the rest of a docstring with one of the five `SCORES`, as many of each as there are.

    Args:
        rows: Docstrings.
        limit: The most pairs in all.

    Returns:
        `sentence1`, `sentence2`, `score`, in an order that their texts decide.
    """
    ordered = sorted(rows, key=lambda row: _hash(row["anchor"], row["name"]))
    nearer: list[tuple[str, Callable[[Row], str]]] = [
        ("class", _class_of),
        ("module", lambda row: row["module"]),
        ("package", lambda row: row["package"]),
        ("elsewhere", lambda row: "anywhere"),
    ]
    found = [(row, row, "docstring") for row in ordered[: limit // len(SCORES)]]
    within: Callable[[Row], str] | None = None
    for what, place in nearer:
        found += [(a, b, what) for a, b in _apart(ordered, place, within)][: limit // len(SCORES)]
        within = place
    pairs = [{"sentence1": a["anchor"], "sentence2": b["positive"], "score": SCORES[what]} for a, b, what in found]
    return sorted(pairs, key=lambda pair: _hash(pair["sentence1"], pair["sentence2"]))


def labelled(rows: Sequence[Row], depth: int, least: int, most: int) -> list[dict[str, str]]:
    """First sentences with their place: the first parts of their module's name.

    Args:
        rows: Docstrings.
        depth: How many parts: 1 for the package, 2 for `scipy.sparse`.
        least: Labels with fewer texts are left out.
        most: Texts of a label that are taken.

    Returns:
        `text`, `label`, in an order that the texts decide.
    """
    by_label: dict[str, list[Row]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: _hash(row["anchor"], row["name"])):
        parts = [row["package"], *row["module"].removeprefix(row["package"]).strip(".").split(".")]
        parts = [part for part in parts if part]
        if len(parts) >= depth:
            by_label[".".join(parts[:depth])].append(row)
    found = [
        {"text": row["anchor"], "label": label}
        for label, own in by_label.items()
        if len(own) >= least
        for row in own[:most]
    ]
    return sorted(found, key=lambda row: _hash(row["text"], row["label"]))


def _apart(
    rows: Sequence[Row], place: Callable[[Row], str], within: Callable[[Row], str] | None
) -> list[tuple[Row, Row]]:
    """Each row with one, drawn by its name, that is in the same place, but not in the same one of a nearer kind."""
    by_place: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_place[place(row)].append(row)
    pairs = []
    for row in rows:
        near = by_place[place(row)] if place(row) else []
        start = int(_hash(row["name"], place(row)), 16)
        others = (near[(start + step) % len(near)] for step in range(min(len(near), TRIES)))
        far = (other for other in others if within is None or not within(row) or within(other) != within(row))
        other = next((other for other in far if other is not row), None)
        if other is not None:
            pairs.append((row, other))
    return pairs


def _class_of(row: Row) -> str:
    """The class that a row is of, or of a method of; empty for what is outside of classes."""
    parts = row["name"].split(".")
    named = [i for i, part in enumerate(parts) if part[:1].isupper()]
    return ".".join(parts[: named[-1] + 1]) if named else ""


def _hash(*texts: str) -> str:
    return blake2b("\n".join(texts).encode(), digest_size=8).hexdigest()
