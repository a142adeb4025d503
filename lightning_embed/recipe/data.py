"""One folder that all stages read and are scored on, made of docstrings or of a user's files.

pairs/{train,test}.jsonl     anchor, positive
sts/{train,test}.jsonl       sentence1, sentence2, score
clustering/{train,test}.jsonl, classification/{train,test}.jsonl      text, label
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from lightning_embed.datamodules.holdout import Keys, hold_out
from lightning_embed.errors import UserError
from lightning_embed.utils.atomic import whole_folder

DOCSTRINGS = "python-docs"
"""As `data`: the docstrings of the packages that are installed."""
KINDS = {"pairs": ("anchor", "positive"), "sts": ("sentence1", "sentence2", "score")} | dict.fromkeys(
    ("clustering", "classification"), ("text", "label")
)
"""Folder -> columns of its files."""
ROLES = {"sentence1": "anchor", "sentence2": "positive", "text": "anchor"}
HELD_OUT = 0.1
"""Share of a lone file's rows that is held out."""
TEST_SHARE = 0.125
"""The most test rows, as a share of the training rows that are taken."""

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Prepared:
    """A folder of data."""

    folder: Path
    """The folder that replaces `$data`."""
    identity: str
    """Changes with what it holds."""


def prepare(data: str, sample: int | None, folder: Path) -> Prepared:
    """The folder that replaces `$data`: a user's own as it is, or one made of samples.

    Args:
        data: `python-docs`, or a folder.
        sample: The most training rows that are taken of each kind; None: the user's folder is read as it is.
        folder: Where samples are kept: made once, then found.

    Raises:
        UserError: There is no such folder, files are missing in it, or samples of something else are in the way.
    """
    source = DOCSTRINGS if data == DOCSTRINGS else str(Path(data).expanduser().resolve())
    if source != DOCSTRINGS and not Path(source).is_dir():
        raise UserError(f"data: expected {DOCSTRINGS} or a folder, got {data} (looked from {Path.cwd()})")
    if sample is None:
        if source == DOCSTRINGS:
            raise UserError(f"data: {DOCSTRINGS} needs `sample`, the most rows that are taken, such as 20000")
        return Prepared(Path(source), source)
    if sample < 20:
        raise UserError(f"sample: at least 20 rows are needed, got {sample}")
    asked, record = {"data": source, "sample": sample}, folder / "data.json"
    try:
        made = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        made = None
    if made is None:
        rows = from_docstrings(sample) if source == DOCSTRINGS else from_folder(Path(source), sample)
        made = _write({kind: _usable(own, Path(source) / kind) for kind, own in rows.items()}, folder, asked)
    elif made["asked"] != asked:
        raise UserError(
            f"{folder} was made of {made['asked']['data']}, {made['asked']['sample']} rows at most, not of {source}, {sample}: "
            "give another --folder"
        )
    return Prepared(folder, made["contents"])


def from_docstrings(sample: int) -> dict[str, dict[str, Rows]]:
    """Kind -> `train` and `test` -> rows made of the installed packages' docstrings; whole modules are held out.

    Args:
        sample: The most training rows of each kind.
    """
    import pyarrow.parquet as pq

    from lightning_embed.datamodules.docstrings.corpus import build
    from lightning_embed.datamodules.docstrings.tasks import labelled, scored_pairs

    built, most = build(), {"train": sample, "test": max(20, int(TEST_SHARE * sample))}
    rows = {split: pq.read_table(built / f"{split}.parquet").to_pylist() for split in most}
    pairs = {split: [{"anchor": r["anchor"], "positive": r["positive"]} for r in rows[split]] for split in most}
    labels: dict[str, dict[str, Rows]] = {}
    for kind, depth in (("clustering", 1), ("classification", 2)):
        labels[kind] = {split: labelled(rows[split], depth, 10, 300) for split in most}
    scored = {split: scored_pairs(rows[split], most[split]) for split in most}
    made: dict[str, dict[str, Rows]] = {"pairs": pairs, "sts": scored, **labels}
    return {kind: {split: own[split][: most[split]] for split in most} for kind, own in made.items()}


def from_folder(data: Path, sample: int) -> dict[str, dict[str, Rows]]:
    """Kind -> `train` and `test` -> rows of a user's files: `*-train.*` and `*-test.*`, or one file whose rows are split.

    Args:
        data: Has the folders of `KINDS`, as far as there are such data.
        sample: The most training rows of each kind.

    Raises:
        UserError: No kind is there, or a file cannot be used.
    """
    most = {"train": sample, "test": max(20, int(TEST_SHARE * sample))}
    found: dict[str, dict[str, Rows]] = {}
    for kind, columns in KINDS.items():
        files = sorted(file for file in (data / kind).glob("*") if file.is_file() and not file.name.startswith("."))
        parts = {split: [file for file in files if file.name.split(".")[0].endswith(split)] for split in most}
        if parts["train"] and parts["test"]:
            found[kind] = {split: _sampled(_rows(parts[split], columns), most[split]) for split in most}
        elif len(files) == 1:
            rows = _rows(files, columns)
            texts = ([row[column] for column in columns if column not in ("score", "label")] for row in rows)
            (part,) = hold_out([Keys.of(texts)], [HELD_OUT])
            if not part.any():
                raise UserError(
                    f"{files[0]}: too many rows share a text to hold some out; give *-train.* and *-test.* files"
                )
            found[kind] = {
                split: _sampled([row for row, one in zip(rows, part, strict=True) if one == held], most[split])
                for split, held in (("test", 1), ("train", 0))
            }
        elif files:
            raise UserError(
                f"{data / kind}: expected files named *-train.* and *-test.*, or a single file, got {len(files)} files"
            )
    if "pairs" not in found:
        raise UserError(
            f"data: {data / 'pairs'} is expected, with pairs of anchor and positive; docs/recipe.md tells the layout"
        )
    return found


def _rows(files: Sequence[Path], columns: Sequence[str]) -> Rows:
    """All rows of some files, read as sources are, so that their columns and their faults are known as there."""
    from lightning_embed.datamodules.sources.opening import open_source
    from lightning_embed.datamodules.sources.source import Source

    roles = {column: ROLES.get(column, column) for column in columns}
    needed = [role for role in roles.values() if role not in ("score", "label")]
    rows: Rows = []
    for file in files:
        opened = open_source(Source(str(file)), needed)
        missing = [column for column, role in roles.items() if role not in opened.columns]
        if missing:
            raise UserError(f"{file}: no column for {', '.join(missing)}; the columns wanted are {', '.join(columns)}")
        taken = opened.take(range(len(opened)))
        values = [[_first(value) for value in taken[role]] for role in roles.values()]
        rows += [dict(zip(columns, row, strict=True)) for row in zip(*values, strict=True)]
    return rows


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, list) else value


def _usable(rows: dict[str, Rows], where: Path) -> dict[str, Rows]:
    """Without the labels that a sample left too few rows of: two are needed to train, one to test."""
    if "label" not in rows["train"][0]:
        return rows
    counts = {split: Counter(row["label"] for row in rows[split]) for split in rows}
    kept = {label for label, count in counts["train"].items() if count > 1 and label in counts["test"]}
    if len(kept) < 2:
        raise UserError(
            f"{where}: at least two labels are needed that the training and the test rows share, got {len(kept)}: give a larger sample"
        )
    return {split: [row for row in own if row["label"] in kept] for split, own in rows.items()}


def _sampled(rows: Rows, most: int) -> Rows:
    """Rows in an order that their content decides, the first of them."""
    return sorted(rows, key=lambda row: blake2b(json.dumps(row, sort_keys=True).encode(), digest_size=8).digest())[
        :most
    ]


def _write(rows: Mapping[str, Mapping[str, Rows]], folder: Path, asked: dict[str, Any]) -> dict[str, Any]:
    """Writes the folder whole, and says in data.json what it holds."""
    digest, counts = blake2b(digest_size=8), {}
    try:
        with whole_folder(folder) as made:  # one that is there has no data.json: whoever wrote it was stopped
            for kind, splits in rows.items():
                for split, own in splits.items():
                    digest.update(json.dumps([kind, split, own]).encode())
                    _write_lines(made / kind / f"{split}.jsonl", own)
                counts[kind] = {split: len(own) for split, own in splits.items()}
                if "label" in KINDS[kind]:
                    counts[kind]["labels"] = len(Counter(row["label"] for row in splits["train"]))
            contents = {"asked": asked, "rows": counts, "contents": digest.hexdigest()}
            (made / "data.json").write_text(json.dumps(contents, indent=1), encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"{folder}: the data cannot be written there ({error.strerror}); give another --folder"
        ) from None
    sizes = "; ".join(f"{kind} {own['train']:,} and {own['test']:,}" for kind, own in counts.items())
    print(f"data in {folder}, to train and to test: {sizes}", file=sys.stderr, flush=True)
    return contents


def _write_lines(file: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", encoding="utf-8") as lines:
        lines.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
