"""The report of a run: report.md, report.json, pictures, and a few lines in the terminal."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_embed.errors import UserError
from lightning_embed.evaluation.metrics.by_source import MEAN
from lightning_embed.evaluation.metrics.grid import GridRow
from lightning_embed.evaluation.reports.curves import plot_training, read_curves
from lightning_embed.evaluation.reports.facts import (
    AFTER,
    BEFORE,
    TEACHER,
    ModelReport,
    Report,
    TrainingFacts,
    teacher_title,
)
from lightning_embed.evaluation.reports.names import metric_title
from lightning_embed.evaluation.reports.plots import plot_grid, png
from lightning_embed.evaluation.reports.tables import (
    Table,
    grid_table,
    headline,
    models_table,
    swap_table,
    training_line,
)
from lightning_embed.utils.atomic import write_whole
from lightning_embed.utils.formatting import print_words

if TYPE_CHECKING:
    from rich.console import Console

__all__ = [
    "AFTER",
    "BEFORE",
    "TEACHER",
    "ModelReport",
    "Report",
    "TrainingFacts",
    "load_report",
    "markdown",
    "markdown_table",
    "print_report",
    "write_report",
]


def _swapped(teacher: str) -> str:
    """How the picture calls the student's queries among a teacher's documents."""
    return f"student→{teacher_title(teacher)}"


def _space(teacher: str) -> str:
    """How a teacher's space is called."""
    return f"space of {teacher_title(teacher)}" if teacher else "teacher's space"


def _one_line(text: str) -> str:
    return " ".join(text.split())


def markdown_table(content: Table) -> list[str]:
    """A table as lines of Markdown.

    Args:
        content: Header and rows.
    """
    header, rows = content
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return ["| " + " | ".join(_one_line(cell).replace("|", "\\|") for cell in line) + " |" for line in lines] + [""]


def markdown(report: Report, pictures: Mapping[str, str]) -> str:
    """The page: headline, picture, tables, training, how to use the model, files.

    Args:
        report: Sections that it has nothing for are left out.
        pictures: `picture` and `training curves` -> the image's name beside the page, as far as they were drawn.
    """
    title = metric_title(report.metric)
    lines = ["# Report", "", f"**{headline(report)}**", ""]
    if report.scored_on:
        lines += [f"Scores, times 100: {_one_line(report.scored_on)}.", ""]
    lines += ["## Models", "", *markdown_table(models_table(report))]
    if "picture" in pictures:
        lines += [f'<img src="{pictures["picture"]}" width="900" alt="{title} over the bytes of a stored vector">', ""]
    for name in report.teachers if report.swaps else []:
        if report.swaps_of(name):
            lines += [f"## In the {_space(name)}", "", _explained(name), "", *markdown_table(swap_table(report, name))]
    scored = [model for model in [*report.models, *report.swaps] if model.grid]
    if scored:
        lines += ["## Fewer dims, lower precision", ""]
        lines += [f"{title} times 100, in brackets its change against the model's full vectors in float32.", ""]
    for model in scored:
        lines += [f"### {_one_line(model.name)}", "", *markdown_table(grid_table(model, report.metric))]
    if report.training or "training curves" in pictures:
        lines += ["## Training", ""]
    if report.training:
        lines += [_one_line(training_line(report.training)) + ".", ""]
    if "training curves" in pictures:
        lines += [f'<img src="{pictures["training curves"]}" width="900" alt="losses and validation score">', ""]
    if report.notes:
        lines += ["## Notes", "", *(f"- {_one_line(note)}" for note in report.notes), ""]
    if report.exported:
        lines += [
            "## Use it",
            "",
            "The exported folder is a sentence-transformers model:",
            "",
            *usage_lines(report.exported),
            "",
        ]
    if report.artefacts:
        lines += ["## Files", "", *(f"- {what}: `{path}`" for what, path in report.artefacts.items()), ""]
    return "\n".join(lines)


def _explained(teacher: str) -> str:
    """What the table of a teacher's space shows."""
    return (
        f"What it costs to swap the model and keep the index: the student's vectors in the {_space(teacher)}, beside the teacher's own. In "
        f"the picture {_swapped(teacher)} is the row of the student's queries and the teacher's documents. `export --space "
        f"teacher{':' + teacher if teacher else ''}` gives these vectors."
    )


def usage_lines(folder: str, remark: str = "") -> list[str]:
    """Python that embeds and compares texts with an exported folder, as Markdown.

    Args:
        folder: What the code reads.
        remark: A comment on the folder.
    """
    remark += "truncate_dim=... for shorter vectors"
    return [
        "```python",
        "from sentence_transformers import SentenceTransformer",
        "",
        f"model = SentenceTransformer({json.dumps(folder, ensure_ascii=False)})  # {remark}",
        'queries = model.encode_query(["how do I read a file line by line?"])',
        'documents = model.encode_document(["open() returns a file object; iterating over it gives its lines."])',
        "print(model.similarity(queries, documents))",
        "```",
    ]


def write_report(
    report: Report,
    folder: str | Path,
    metrics_csv: str | Path | None = None,
    teacher_scores: Mapping[str, float] | None = None,
) -> Report:
    """Writes report.md, report.json, report.png (where there is a grid) and training.png (where there are metrics).

    Everything is rendered first; then each file is written whole.

    Args:
        report: What to say.
        folder: Made if it is not there; files of these names in it are replaced.
        metrics_csv: The metrics file of Lightning's CSVLogger; its column `val/<metric>` is drawn, or else `val/score`.
        teacher_scores: The teacher's scores on the validation rows (not the test rows'), drawn beside the student's curve.

    Returns:
        The report, with what was written among its artefacts.

    Raises:
        UserError: The folder cannot be written to, or the metrics file is no good.
    """
    folder = Path(folder)
    pictures = {}
    if any(report.metric in row.scores for model in report.models for row in model.grid):
        drawn = {m.name: m.grid for m in report.models}
        drawn |= {_swapped(name): swaps[0].grid for name in report.teachers if (swaps := report.swaps_of(name))}
        pictures["picture"] = ("report.png", png(plot_grid(drawn, report.metric)))
    if metrics_csv is not None:
        metric = report.metric if f"val/{report.metric}" in read_curves(metrics_csv) else MEAN
        curves = plot_training(metrics_csv, f"val/{metric}", (teacher_scores or {}).get(metric))
        pictures["training curves"] = ("training.png", png(curves))
    names = {"report": "report.md", "numbers": "report.json", **{what: name for what, (name, _) in pictures.items()}}
    report = replace(report, artefacts=report.artefacts | {what: str(folder / name) for what, name in names.items()})
    files = dict(pictures.values())
    files["report.json"] = (json.dumps(asdict(report), indent=2) + "\n").encode()
    files["report.md"] = markdown(report, {what: name for what, (name, _) in pictures.items()}).encode(
        "utf-8", "replace"
    )
    try:
        for name, content in files.items():
            write_whole(folder / name, content)
    except OSError as error:
        raise UserError(
            f"{folder}: cannot write the report: {error.strerror or error}; give a folder that you may write to"
        ) from error
    return report


def load_report(path: str | Path) -> Report:
    """Reads a report.json.

    Args:
        path: As `write_report` wrote it.

    Raises:
        UserError: The file is not there or is no report.
    """
    try:
        data = {"swaps": [], **json.loads(Path(path).read_text(encoding="utf-8"))}  # an earlier version wrote none
        models, swaps = (
            [ModelReport(**{**one, "grid": [GridRow(**row) for row in one["grid"]]}) for one in data[part]]
            for part in ("models", "swaps")
        )
        training = TrainingFacts(**data["training"]) if data["training"] else None
        return Report(**{**data, "models": models, "swaps": swaps, "training": training})
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path}: expected a report.json that lightning_embed wrote: {error}") from error


def print_report(report: Report, console: Console | None = None) -> None:
    """Prints the report's content, compactly: for 80 columns, and at most 25 lines for 3 models and 6 sizes.

    Args:
        report: What to say.
        console: Where to; the terminal if not given.
    """
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    console = console or Console()

    def table(content: Table) -> None:
        header, rows = content
        drawn = RichTable(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        for number, name in enumerate(header):
            drawn.add_column(Text(name), justify="right" if number else "left", no_wrap=True)
        for row in rows:
            drawn.add_row(*(Text(cell) for cell in row))
        console.print(drawn)

    console.print(Text(headline(report), style="bold red" if report.failures else "bold green"))
    table(models_table(report, every_metric=False))
    for name in report.teachers if report.swaps else []:
        if report.swaps_of(name):
            console.print()
            print_words(console, f"in the {_space(name)}", "bold")
            table(swap_table(report, name))
    scored = [model for model in report.models if model.grid]
    if scored:
        on = f", on {report.scored_on}" if report.scored_on else ""
        console.print()
        print_words(console, f"{metric_title(report.metric)} of the {scored[-1].name}{on}", "bold")
        table(grid_table(scored[-1], report.metric, long=False))
    console.print()
    if report.training:
        print_words(console, f"trained: {training_line(report.training)}")
    for note in report.notes:
        print_words(console, f"note: {' '.join(note.split())}", "yellow")
    for what, path in (report.artefacts | ({"exported model": report.exported} if report.exported else {})).items():
        console.print(Text(f"{what}: {path}", style="dim"), soft_wrap=True)  # a path is not broken
