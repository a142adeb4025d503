"""What a run leaves out of its data, in words: when it starts, and for its report."""

from lightning_embed.datamodules.no_duplicates import Dealt
from lightning_embed.datamodules.sources.opening import FILTERED
from lightning_embed.datamodules.sources.rows import Rows
from lightning_embed.utils.formatting import share

NOTED_SHARE = 0.01
"""Share of the rows that `no_duplicates` leaves out, above which a note says so."""


def notes_at_start(rows: Rows, dealt: Dealt | None) -> list[str]:
    """How many rows of a training source its filter and `no_duplicates` leave out.

    Args:
        rows: The source.
        dealt: What `no_duplicates` makes of its first batches; None where it is off.
    """
    who, filtered = f"source '{rows.source.title}'", rows.content.left_out.get(FILTERED)
    notes = [f"{who}: {filtered:,} rows do not meet its filter; {len(rows):,} are left"] if filtered else []
    if dealt is not None and dealt.left_out > NOTED_SHARE:
        notes.append(
            f"{who}: no_duplicates leaves out {share(dealt.left_out)} of its rows (of its first {dealt.batches} batches), which "
            f"have a text of another row of their batch: its steps have about {dealt.kept // dealt.batches:,} rows in place of "
            f"{dealt.planned // dealt.batches:,}"
        )
    return notes


def report_lines(rows: Rows, split: str) -> list[str]:
    """How many rows of a source cannot be used, by the reason, and how many training rows have no negative.

    Args:
        rows: The source.
        split: `train`, `validation` or `test`.
    """
    who = rows.source.title if split == "train" else f"{rows.source.title} ({split})"
    lines = [f"{who}: {count:,} rows {why} and are left out." for why, count in rows.content.left_out.items()]
    if split == "train" and rows.content.without_negatives:
        lines.append(f"{who}: {rows.content.without_negatives:,} of {len(rows):,} rows have no negative.")
    return lines
