"""Tables in the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_embed.evaluation.reports.tables import Table

if TYPE_CHECKING:
    from rich.console import Console


def fitting(table: Table, width: int) -> Table:
    """The table, or the table with rows and columns swapped where it is too wide and that is narrower.

    Args:
        table: Header and rows.
        width: Columns of characters that there is room for.
    """
    header, rows = table
    first, *others = (list(column) for column in zip(header, *rows, strict=True))
    turned = first, others
    return table if _width(table) <= max(width, _width(turned)) else turned


def _width(table: Table) -> int:
    header, rows = table
    return sum(max(map(len, column)) + 2 for column in zip(header, *rows, strict=True)) - 2


def print_tables(
    tables: Sequence[tuple[str, Table, int]], files: Sequence[Path], console: Console | None = None
) -> None:
    """Prints tables, and where files are.

    Args:
        tables: Title, table, and how many of its columns, from the left, are words.
        files: What was written.
        console: Where to; the terminal if not given.
    """
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    console = console or Console()
    for title, (header, rows), left in tables:
        console.print(Text(f"\n{title}", style="bold"))
        drawn = RichTable(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        for number, name in enumerate(header):
            words, widest = number < left, max((len(row[number]) for row in rows), default=0)
            least = (
                min(widest, 12) if words else widest
            )  # words and headers are wrapped where there is no room, numbers never
            drawn.add_column(Text(name), justify="left" if words else "right", overflow="fold", min_width=least)
        for row in rows:
            drawn.add_row(*(Text(cell) for cell in row))
        console.print(drawn)
    console.print()
    for path in files:
        console.print(Text(str(path), style="dim"), soft_wrap=True)
