"""What must hold at the end of a run or an evaluation, for those who train in CI."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

from lightning_embed.errors import UserError
from lightning_embed.evaluation.metrics.grid import GridRow, full_precision
from lightning_embed.evaluation.metrics.quantize import PRECISIONS

STORED = tuple(precision for precision in PRECISIONS if precision != "float32")
GATES = (
    "score",
    "of_teacher",
    "of_teacher_low",
    "above_start",
    "export_cosine",
    *(f"{precision}_of_float" for precision in STORED),
)


def check_gates(require: Mapping[str, float], where: str) -> None:
    """Refuses gates that nothing could be measured for.

    Args:
        require: Gate -> the least value, see `values`.
        where: What the user wrote them under, for messages.

    Raises:
        UserError: A gate is unknown, or its value is no number.
    """
    for gate, least in require.items():
        name = gate.partition("/")[0]
        if name not in GATES and not re.fullmatch(r"[1-9]\d*_of_full", name):
            raise UserError(
                f"{where}: there is no gate '{gate}'; known are {', '.join(GATES)} and DIMS_of_full, each also as GATE/TASK"
            )
        if isinstance(least, bool) or not isinstance(least, int | float) or not math.isfinite(least):
            raise UserError(f"{where}.{gate}: expected a number, got {least!r}")


def values(
    scores: Mapping[str, str],
    student: Sequence[GridRow],
    teacher: Sequence[GridRow] = (),
    before: Sequence[GridRow] = (),
) -> dict[str, float]:
    """Gate -> value, as far as it was measured: `GATE` of the main score, `GATE/TASK` of a task's.

        score                   the student's, of full vectors in float32
        of_teacher              student / teacher
        above_start             student − untrained student
        PRECISION_of_float      full vectors in a precision / in float32
        DIMS_of_full            vectors cut to DIMS / full, in float32

    Args:
        scores: Task -> name of its score in the grids; `""` for the main score.
        student: Its grid.
        teacher: Its grid, if there is one.
        before: The untrained student's, if there is one.
    """
    found: dict[str, float] = {}
    full, reference, start = (full_precision(grid) for grid in (student, teacher, before))
    if full is None:
        return found
    for task, metric in scores.items():
        suffix, score = f"/{task}" if task else "", full.scores[metric]
        found[f"score{suffix}"] = score
        if reference is not None and reference.scores.get(metric):
            found[f"of_teacher{suffix}"] = score / reference.scores[metric]
        if start is not None and metric in start.scores:
            found[f"above_start{suffix}"] = score - start.scores[metric]
        for row in student if score else ():
            if row.precision != "float32" and row.dim == full.dim:
                found[f"{row.precision}_of_float{suffix}"] = row.scores[metric] / score
            elif row.precision == "float32" and row.dim < full.dim:
                found[f"{row.dim}_of_full{suffix}"] = row.scores[metric] / score
    return found


def broken(require: Mapping[str, float], found: Mapping[str, float], of: str = "") -> list[str]:
    """A phrase for each gate that does not hold.

    Args:
        require: Gate -> the least value.
        found: Gate -> value.
        of: Whose values they are, where there are several.
    """
    who = f" of {of}" if of else ""
    phrases = []
    for gate, least in require.items():
        if gate not in found:
            phrases.append(f"{gate}{who} was not measured, and must be at least {least:g}")
        elif not found[gate] >= least:
            phrases.append(f"{gate}{who} is {found[gate]:.4f}, and must be at least {least:g}")
    return phrases
