"""Rows that cannot be used: found, named by file and line, and refused or left out."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from lightning_embed.errors import UserError
from lightning_embed.utils.atomic import write_whole
from lightning_embed.utils.numbers import check_number


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be used."""

    where: str
    """ "file, line n", or "row n of file"."""
    column: str | None
    """The column at fault, if it is one."""
    reason: str
    """What was expected and what came."""

    def __str__(self) -> str:
        return f"{self.where}{f', column {self.column!r}' if self.column else ''}: {self.reason}"


@dataclass
class BadRows:
    """What becomes of rows that cannot be used."""

    on_bad_row: Literal["error", "skip"] = "error"
    """`error` stops at the first; `skip` leaves them out and lists them."""
    max_share: float = 0.01
    """The share of a source's rows that may be left out."""
    found: list[tuple[str, BadRow]] = field(default_factory=list)
    """Source's name and row, of those left out so far."""

    def __post_init__(self) -> None:
        check_number("max_bad_share", self.max_share, least=0, most=1)

    @property
    def skip(self) -> bool:
        """Whether they are left out."""
        return self.on_bad_row == "skip"

    def judge(self, title: str, bad: list[BadRow], rows: int) -> None:
        """Raises at the first bad row, or takes note of all of them.

        Args:
            title: The source's name.
            bad: Its bad rows.
            rows: How many rows it has, bad ones included.

        Raises:
            UserError: If bad rows are not to be skipped, or are too many.
        """
        if not bad:
            return
        if not self.skip:
            raise UserError(f"source '{title}': {bad[0]}; mend it, or leave such rows out with on_bad_row: skip")
        if len(bad) > self.max_share * rows:
            raise UserError(
                f"source '{title}': {len(bad):,} of {rows:,} rows cannot be used, more than max_bad_share {self.max_share:g}; "
                f"the first: {bad[0]}"
            )
        self.found += [(title, row) for row in bad]

    def write(self, listing: Path) -> None:
        """Lists the rows that were left out, one JSON object a line.

        Args:
            listing: The file.
        """
        entries = [
            {"source": title, "where": r.where, "column": r.column, "reason": r.reason} for title, r in self.found
        ]
        write_whole(listing, "".join(json.dumps(e, ensure_ascii=False) + "\n" for e in entries))
