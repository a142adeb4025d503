"""Mutates rows in every way that a disk or a person does, and checks that they are read: python scripts/fuzz_rows.py --rows 100000

Whatever the rows are, the outcome is batches or one `UserError`, in time; and with `on_bad_row: skip` all rows that were left alone come
through unharmed, text by text, in order.
"""

import argparse
import csv
import io
import json
import random
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_embed.datamodules.collate import text_batch
from lightning_embed.datamodules.plan import Plan
from lightning_embed.datamodules.sources import Source
from lightning_embed.datamodules.sources.bad_rows import BadRows
from lightning_embed.datamodules.sources.opening import open_source
from lightning_embed.errors import UserError

TEXTS = [
    "ü🙂 naïve",
    "مرحبا بالعالم",
    "שלום \u200f",
    "👩‍👩‍👧‍👦",
    "e\u0301",
    "\u2028\u0085",
    "null",
    "007",
    "NaN",
    "-1e5",
    "true",
    "a 'b' c",
]
VALUES: list[Any] = [
    None,
    True,
    3,
    1.5,
    10**30,
    float("nan"),
    float("inf"),
    "",
    " \t",
    [],
    ["x"],
    [3],
    [["x"]],
    {},
    {"text": "t"},
    "\ud800",
    "\0",
]


@dataclass(frozen=True)
class Checked:
    """What came of some rows."""

    good: int
    """Rows that were left alone."""
    bad: int
    """Rows that were skipped."""


def _row(dice: random.Random, number: int) -> dict[str, Any]:
    """A good row, known again by its number."""
    text = dice.choice(TEXTS) if dice.random() < 0.5 else "word " * dice.randrange(1, 20)
    if dice.random() < 0.0005:
        text = dice.choice("x🙂ש") * 200_000
    return {"anchor": f"{number}: {text}", "positive": f"answer {text}", "score": dice.randrange(100) / 100}


def _mutated(dice: random.Random, row: dict[str, Any], line: bytes, quotes: bool) -> bytes:
    """A line that something happened to."""
    kind = dice.randrange(7)
    place = dice.randrange(len(line))
    if kind == 0:  # bytes flip
        flipped = bytearray(line)
        for _ in range(dice.choice((1, 1, 3, 30))):
            flipped[dice.randrange(len(line))] = dice.randrange(256)
        line = bytes(flipped)
    elif kind == 1:  # cut short
        line = line[:place]
    elif kind == 2:  # bytes come in
        extra = dice.choice(
            [b"\0", b"\xff\xfe", b"\xed\xa0\x80", b"\xc3", b"\x1b[31m", b"{", b"]]", b"\\u12", b"\t", b"," * 5]
        )
        line = line[:place] + extra + line[place:]
    elif kind == 3:  # a value of another type
        changed = row | {dice.choice(list(row)): dice.choice(VALUES)}
        line = (
            json.dumps(changed).encode()
            if quotes
            else ",".join(map(str, changed.values())).encode("utf-8", "surrogatepass")
        )
    elif kind == 4:  # a key lost, or one too many
        changed = (
            {key: row[key] for key in list(row)[1:]} if dice.random() < 0.5 else row | {"more": dice.choice(VALUES)}
        )
        line = (
            json.dumps(changed).encode()
            if quotes
            else ",".join(map(str, changed.values())).encode("utf-8", "surrogatepass")
        )
    elif kind == 5:  # no row at all
        line = dice.choice([b"", b"null", b"[]", b"3", b"[" * 5000, bytes(dice.randrange(256) for _ in range(80))])
    else:
        line = line * 2
    line = line.replace(b"\n", b"").replace(b"\r", b"")
    return line if quotes else line.replace(b'"', b"")  # an open quote may rightly swallow the next line


def write(file: Path, kind: str, rows: int, seed: int, share: float = 0.5) -> dict[str, dict[str, Any]]:
    """Writes rows, some of them mutated; those left alone, by anchor.

    Args:
        file: Where.
        kind: `jsonl` or `csv`.
        rows: How many.
        seed: Which.
        share: Share of mutated rows.
    """
    dice, good = random.Random(seed), {}
    with file.open("wb") as out:
        if kind == "csv":
            out.write(b"anchor,positive,score\n")
        for number in range(rows):
            row = _row(dice, number)
            if kind == "csv":
                cells = io.StringIO()
                csv.writer(cells, lineterminator="").writerow(row.values())
                line = cells.getvalue().encode()
            else:
                line = json.dumps(row, ensure_ascii=dice.random() < 0.5).encode()
            if dice.random() < share:
                line = _mutated(dice, row, line, kind == "jsonl")
            else:
                good[row["anchor"]] = row
            out.write(line + b"\n")
    return good


def fuzzed(folder: Path, kind: str, rows: int, seed: int, share: float = 0.5) -> Checked:
    """Reads fuzzed rows both ways.

    Args:
        folder: Where to write them.
        kind: `jsonl` or `csv`.
        rows: How many.
        seed: Which.
        share: Share of mutated rows.

    Raises:
        AssertionError: If a good row is lost or harmed, or none of the bad ones is an error.
    """
    file = folder / f"fuzzed-{seed}.{kind}"
    good = write(file, kind, rows, seed, share)
    try:
        open_source(Source(str(file)))
        raise AssertionError("not one mutated row was found")
    except UserError as error:
        assert "\n" not in str(error) and file.name in str(error), str(error)
    bad = BadRows("skip", 1.0)
    opened = open_source(Source(str(file)), bad_rows=bad)
    plan = Plan((len(opened),), (100,), shuffle=False, drop_last=False)
    came = []
    for step in range(len(plan)):
        batch = text_batch(opened, plan[step])
        came += list(zip(batch.texts["anchor"], batch.texts["positive"], batch.score["positive"], strict=True))
    wanted = iter(good.values())
    row = next(wanted, None)
    for anchor, positive, score in came:
        if row is not None and (anchor, positive, score) == tuple(row.values()):
            row = next(wanted, None)
    assert row is None, f"the good row {str(row)[:200]!r} is lost or harmed"
    return Checked(len(good), len(bad.found))


def main() -> None:
    """Fuzzes until there were enough rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    done, seed, began = 0, given.seed, time.monotonic()
    while done < given.rows:
        with tempfile.TemporaryDirectory() as folder:
            kind = ("jsonl", "csv")[seed % 2]
            checked = fuzzed(Path(folder), kind, 5_000, seed, (0.5, 0.02)[seed // 2 % 2])
        done, seed = done + 5_000, seed + 1
        print(f"{kind}: {checked.good} good rows unharmed, {checked.bad} bad ones skipped", flush=True)
    print(f"{done} rows in {time.monotonic() - began:.0f} s: no crash, no hang, no good row lost")


if __name__ == "__main__":
    main()
