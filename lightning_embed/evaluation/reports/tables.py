"""A report in words and tables of text, for the page and the terminal alike."""

from __future__ import annotations

from lightning_embed.evaluation.metrics.grid import Change, GridRow, change, full_precision
from lightning_embed.evaluation.reports.facts import (
    AFTER,
    BEFORE,
    SWAPS,
    ModelReport,
    Report,
    TrainingFacts,
    swap_title,
    teacher_title,
)
from lightning_embed.evaluation.reports.names import metric_title, points
from lightning_embed.utils.formatting import duration
from lightning_embed.utils.teacher_names import ONE

TEACHER_COSINE = "teacher_cosine"
"""The metric of texts alone."""
Table = tuple[list[str], list[list[str]]]
"""Header, rows."""

_STORED = {
    "float32": "float32 (4 bytes a dim)",
    "int8": "int8 (1 byte a dim)",
    "binary": "binary (1 bit a dim)",
    "binary_rescore": "binary, rescored (1 bit a dim)",
}


def _large(count: float) -> str:
    for size, unit in ((1e9, "B"), (1e6, "M")):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count:,.0f}"


def _size(size: int) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def _percent(lost: Change) -> str:
    return f"{signed(lost.percent, 1)} %"


PRECISION_TITLES = {precision: title.partition(" (")[0] for precision, title in _STORED.items()}
"""Precision -> how tables call it."""


def signed(value: float, digits: int) -> str:
    """A number with its sign, as people write it: `−1.2`, `+0.3`, `0.0`.

    Args:
        value: The number.
        digits: After the point.
    """
    return f"{value:+.{digits}f}".replace("-", "−") if round(value, digits) else f"{0:.{digits}f}"


def headline(report: Report) -> str:
    """What failed, what the student keeps of the teacher, and what training did for it, in a few sentences.

    Args:
        report: Whatever it lacks is left unsaid.
    """
    return " ".join([*(f"FAILED: {failure}." for failure in report.failures), *_comparisons(report)])


def _comparisons(report: Report) -> list[str]:
    before, after = report.model(BEFORE), report.model(AFTER)
    title = metric_title(report.metric)
    score = after.score(report.metric) if after else None
    if after is None or score is None:
        return [f"No {title} of a trained student was measured."]
    sentences = [sentence for name in report.teachers for sentence in _beside_teacher(report, name, after, score)]
    start = before.score(report.metric) if before else None
    if start:
        moved = _percent(change(score, start))
        better = "" if score > start else ": it is no better than its untrained start"
        sentences.append(
            f"Training took the student's {title} from {points(start)} to {points(score)} ({moved}){better}."
        )
    return sentences or [f"The student's {title} is {points(score)}."]


def _beside_teacher(report: Report, name: str, after: ModelReport, score: float) -> list[str]:
    """What the student keeps of one teacher."""
    teacher = report.model(teacher_title(name))
    reference = _reference(report, name)
    if not teacher or not reference:
        return []
    whose = f"teacher {name}'s" if name else "the teacher's"
    kept = f"{'keeps' if score <= reference else 'reaches'} {100 * score / reference:.1f} % of {whose} {metric_title(report.metric)}"
    costs = []
    if teacher.texts_per_second and after.texts_per_second:
        costs.append(f"{after.texts_per_second / teacher.texts_per_second:.1f}x its speed")
    if teacher.size_bytes and after.size_bytes:
        costs.append(f"{after.size_bytes / teacher.size_bytes:.2g} of its size")
    sentences = [f"The student {kept}" + (f" at {' and '.join(costs)}." if costs else ".")]
    swaps = report.swaps_of(name)
    swapped = swaps[0].score(report.metric) if swaps else None
    if swapped is not None:
        sentences.append(f"Among {whose} own documents its queries keep {100 * swapped / reference:.1f} %.")
    return sentences


def models_table(report: Report, every_metric: bool = True) -> Table:
    """A row for each model; columns that no model fills are left out.

    Args:
        report: Its models.
        every_metric: All metrics of the grids, not only the report's own.
    """
    known = dict.fromkeys(metric for model in report.models for row in model.grid for metric in row.scores)
    metrics = [metric for metric in known if every_metric or metric == report.metric]
    references = {name: _reference(report, name) for name in report.teachers}

    def cells(model: ModelReport) -> dict[str, str]:
        score = model.score(report.metric)
        scores = {metric: model.score(metric) for metric in metrics}
        return {
            "model": model.name,
            "parameters": _large(model.parameters) if model.parameters is not None else "",
            "on disk": _size(model.size_bytes) if model.size_bytes is not None else "",
            "dims": str(model.dim or ""),
            "layers": str(model.layers or ""),
            "texts/s": f"{model.texts_per_second:,.0f}" if model.texts_per_second is not None else "",
            **{metric_title(name): "" if value is None else points(value) for name, value in scores.items()},
            **{
                f"of {name or teacher_title(name)}": f"{100 * score / reference:.1f} %"
                if score is not None and reference
                else ""
                for name, reference in references.items()
            },
        }

    rows = [cells(model) for model in report.models]
    header = [name for name in rows[0] if any(row[name] for row in rows)] if rows else ["model"]
    return header, [[row[name] for name in header] for row in rows]


def _reference(report: Report, teacher: str) -> float | None:
    """A teacher's score, where it says something of the student's: its cosine with itself is 1."""
    found = report.model(teacher_title(teacher))
    return found.score(report.metric) if found and report.metric != TEACHER_COSINE else None


def swap_table(report: Report, teacher: str = ONE) -> Table:
    """A row for each choice of who embeds queries and who documents, in a teacher's space: the score, and its change.

    Args:
        report: One with swaps.
        teacher: The teacher's name.
    """
    reference = _reference(report, teacher)
    sides = {swap_title(swap, teacher): who for swap, who in SWAPS.items()}
    kinds = [("teacher", "teacher", reference)]
    kinds += [(*sides[model.name], model.score(report.metric)) for model in report.swaps_of(teacher)]
    rows = []
    for queries, documents, score in kinds:
        if score is None:
            continue
        lost = change(score, reference) if reference else None
        cells = [signed(lost.points, 1), f"{100 + lost.percent:.1f} %"] if lost else ["", ""]
        rows.append([queries, documents, points(score), *cells])
    return ["queries", "documents", metric_title(report.metric), "points", "of teacher"], rows


def grid_table(model: ModelReport, metric: str, long: bool = True) -> Table:
    """A row for each size, a column for each precision: the score, and its change against full size and precision.

    Args:
        model: Its grid.
        metric: Such as `ndcg@10`.
        long: Whether the header tells bytes.
    """
    precisions = list(dict.fromkeys(row.precision for row in model.grid))
    found = {(row.dim, row.precision): row for row in model.grid if metric in row.scores}
    full, full_score = full_precision(model.grid), model.score(metric)

    def cell(row: GridRow | None) -> str:
        if row is None:
            return ""
        lost = f" ({_percent(change(row.scores[metric], full_score))})" if full_score and row is not full else ""
        return f"{points(row.scores[metric])}{lost}"

    dims = sorted({row.dim for row in model.grid}, reverse=True)
    header = ["dims", *((_STORED if long else PRECISION_TITLES)[p] for p in precisions)]
    return header, [[str(dim), *(cell(found.get((dim, p))) for p in precisions)] for dim in dims]


def training_line(facts: TrainingFacts) -> str:
    """Steps, rows, tokens, time, device and versions in one line.

    Args:
        facts: Whatever they lack is left out.
    """
    parts = [f"{facts.steps:,} steps", f"{facts.rows:,} rows"]
    parts += [f"{_large(facts.tokens)} tokens"] if facts.tokens is not None else []
    parts += [duration(facts.seconds)] if facts.seconds is not None else []
    parts += [facts.device] if facts.device else []
    return ", ".join(parts + [f"{name} {version}" for name, version in facts.versions.items()])
