"""What each cut costs and saves, as a table."""

from collections.abc import Sequence
from typing import NamedTuple

from lightning_embed.evaluation.reports.tables import Table
from lightning_embed.shrinking.cuts import Measured


class Row(NamedTuple):
    """A line of the table."""

    name: str
    measured: Measured


def table(rows: list[Row]) -> Table:
    """Header and rows; what no row cuts has no column.

    Args:
        rows: The whole model first.
    """
    header = ["", "layers", "neurons", "tokens", "MB", "cosine", "top 10", "speed"]
    whole = rows[0].measured
    cells = [_cells(row, whole) for row in rows]
    same = {i for i in (2, 3) if len({line[i] for line in cells}) == 1}
    return _without(header, same), [_without(line, same) for line in cells]


def _cells(row: Row, whole: Measured) -> list[str]:
    found = row.measured
    return [
        row.name,
        f"all {len(found.cut.layers)}" if found.cut.layers == whole.cut.layers else ranges(found.cut.layers),
        f"{found.neurons:,}",
        f"{found.tokens:,}",
        f"{found.bytes / 1e6:.1f}",
        f"{found.closeness.cosine:.3f}",
        f"{100 * found.closeness.nearest:.0f} %",
        f"{whole.seconds / found.seconds:.1f} x",
    ]


def ranges(numbers: Sequence[int]) -> str:
    """Ascending numbers, with three or more in a row as a range: `0-2, 5, 7`.

    Args:
        numbers: The numbers.
    """
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    shown = (f"{run[0]}-{run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs)
    return ", ".join(shown)


def _without(cells: list[str], left_out: set[int]) -> list[str]:
    return [cell for i, cell in enumerate(cells) if i not in left_out]
