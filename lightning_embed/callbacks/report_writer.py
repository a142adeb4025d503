"""What the Report callback writes: report.md, report.json, pictures, the exported model, and the tables in the terminal."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning.pytorch as L
import torch

from lightning_embed.encoder import TextEncoder
from lightning_embed.errors import UserError
from lightning_embed.evaluation.grid import GridRow, full_precision
from lightning_embed.pretrained import folder_bytes

if TYPE_CHECKING:
    from lightning_embed.callbacks.report import Report
    from lightning_embed.module import EmbeddingModule

METRIC = "ndcg@10"


def finish(
    report: "Report",
    trainer: L.Trainer,
    module: "EmbeddingModule",
    teacher: Sequence[GridRow],
    before: Sequence[GridRow],
    after: Sequence[GridRow],
) -> None:
    """Exports the student, measures sizes and speed, and writes and prints all of it.

    Args:
        report: The callback, with what it counted.
        trainer: Its trainer.
        module: What was trained.
        teacher: The teacher's grid on the test pairs; empty where there is none.
        before: The untrained student's.
        after: The trained student's.
    """
    folder = report.folder(trainer)
    paths = {"checkpoint": str(folder / "checkpoints" / "last.ckpt"), "report": str(folder / "report.md")}
    student_bytes = None
    if report.export:
        from lightning_embed.export import export_encoder

        export_encoder(module.student, folder / "model")
        student_bytes = folder_bytes(folder / "model")
        paths["model"] = str(folder / "model")
    grids = {"teacher": teacher, "student before": before, "student after": after}
    models: dict[str, dict[str, Any]] = {}
    if isinstance(module.teacher, TextEncoder):
        models["teacher"] = _facts(module.teacher, folder_bytes(module.teacher.folder))
    models["student after"] = _facts(module.student, student_bytes)
    if after:
        for name, encoder in (("teacher", module.teacher), ("student after", module.student)):
            if isinstance(encoder, TextEncoder):
                models[name]["queries_per_second"] = report.speed(trainer, encoder)
    facts = {
        "models": models,
        "grids": {name: [asdict(row) for row in grid] for name, grid in grids.items() if grid},
        "training": {
            "steps": trainer.global_step,
            "rows": report.rows,
            "tokens": report.tokens,
            "seconds": report.seconds,
            "texts_cut": module.texts_cut,
            "tokens_lost": module.tokens_lost,
            "device": str(module.device),
            "python": platform.python_version(),
            "torch": torch.__version__,
        },
        "paths": paths,
    }
    pictures = _pictures(folder, {name: grid for name, grid in grids.items() if grid})
    _write(folder / "report.json", json.dumps(facts, indent=1).encode())
    _write(folder / "report.md", _markdown(facts, grids, pictures).encode())
    _print(facts, grids)


def _facts(encoder: TextEncoder, size: int | None) -> dict[str, Any]:
    return {
        "model": encoder.model,
        "parameters": sum(p.numel() for p in encoder.backbone.parameters()),
        "layers": int(encoder.config.num_hidden_layers),
        "dim": encoder.dim,
        "bytes": size,
    }


def _write(path: Path, content: bytes) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_bytes(content)
        os.replace(partial, path)
    except OSError as error:
        raise UserError(f"{path} could not be written: {error.strerror}") from None


def _pictures(folder: Path, grids: Mapping[str, Sequence[GridRow]]) -> list[str]:
    from lightning_embed.evaluation.plots import plot_grid, plot_training, png

    names = []
    whole = full_precision(grids.get("teacher", []))
    if grids:
        _write(folder / "report.png", png(plot_grid(grids)))
        names.append("report.png")
    curves = sorted(folder.glob("csv/*/metrics.csv"), key=lambda path: path.stat().st_mtime)
    if curves and grids:
        picture = plot_training(curves[-1], teacher_score=None if whole is None else whole.scores[METRIC])
        _write(folder / "training.png", png(picture))
        names.append("training.png")
    return names


def headline(facts: Mapping[str, Any], grids: Mapping[str, Sequence[GridRow]]) -> str:
    """The result in a sentence.

    Args:
        facts: What `finish` gathered.
        grids: Model -> grid.
    """
    teacher, student = full_precision(grids["teacher"]), full_precision(grids["student after"])
    models = facts["models"]
    if teacher is None or student is None:
        return (
            "The student is trained." if student is None else f"The student's {METRIC} is {student.scores[METRIC]:.3f}."
        )
    kept = student.scores[METRIC] / teacher.scores[METRIC]
    text = f"The student keeps {kept:.1%} of its teacher's {METRIC}"
    if "queries_per_second" in models["teacher"]:
        text += f" at {models['student after']['queries_per_second'] / models['teacher']['queries_per_second']:.1f}x its speed"
    return (
        text + f" with {models['student after']['parameters'] / models['teacher']['parameters']:.0%} of its parameters."
    )


def _table(grids: Mapping[str, Sequence[GridRow]]) -> tuple[list[str], list[list[str]]]:
    """Head and rows: one row a size and precision, one column a model."""
    shown = {name: {(row.dim, row.precision): row for row in grid} for name, grid in grids.items() if grid}
    keys = sorted({key for grid in shown.values() for key in grid}, key=lambda key: -key[0])
    rows = []
    for key in keys:
        found = next(grid[key] for grid in shown.values() if key in grid)
        cells = [f"{grid[key].scores[METRIC]:.3f}" if key in grid else "" for grid in shown.values()]
        rows.append([str(key[0]), key[1], f"{found.bytes_per_vector:,}", *cells])
    return ["dim", "precision", "bytes", *shown], rows


def _model_rows(facts: Mapping[str, Any]) -> list[list[str]]:
    rows = []
    for name, model in facts["models"].items():
        size = "" if model["bytes"] is None else f"{model['bytes'] / 1e6:.0f} MB"
        speed = f"{model['queries_per_second']:.0f}" if "queries_per_second" in model else ""
        rows.append([name, str(model["layers"]), str(model["dim"]), f"{model['parameters'] / 1e6:.1f} M", size, speed])
    return rows


MODEL_HEAD = ["model", "layers", "D", "parameters", "on disk", "queries/s"]


def _markdown(facts: Mapping[str, Any], grids: Mapping[str, Sequence[GridRow]], pictures: Sequence[str]) -> str:
    def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
        return "\n".join("| " + " | ".join(line) + " |" for line in (head, ["---"] * len(head), *rows))

    run = facts["training"]
    parts = [f"# {headline(facts, grids)}", table(MODEL_HEAD, _model_rows(facts))]
    if grids["student after"]:
        parts += [f"{METRIC} on the test pairs, by size and precision:", table(*_table(grids))]
    parts += [f"![{name.removesuffix('.png')}]({name})" for name in pictures]
    parts.append(
        f"Trained {run['steps']:,} steps, {run['rows']:,} rows, {run['tokens']:,} tokens in {run['seconds']:.0f} s on {run['device']} "
        f"(torch {run['torch']}); {run['texts_cut']:,} texts were cut, {run['tokens_lost']:,} tokens lost."
    )
    if "model" in facts["paths"]:
        parts.append(
            "```python\nfrom sentence_transformers import SentenceTransformer\n\n"
            f"model = SentenceTransformer({facts['paths']['model']!r})\n"
            'model.similarity(model.encode_query(["..."]), model.encode_document(["..."]))\n```'
        )
    return "\n\n".join(parts) + "\n"


def _print(facts: Mapping[str, Any], grids: Mapping[str, Sequence[GridRow]]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    console.print(f"\n[bold]{headline(facts, grids)}[/bold]")
    tables = [(MODEL_HEAD, _model_rows(facts))] + ([_table(grids)] if grids["student after"] else [])
    for head, rows in tables:
        table = Table(box=None, header_style="bold", pad_edge=False)
        for column in head:
            table.add_column(column, justify="left" if column in ("model", "precision") else "right")
        for row in rows:
            table.add_row(*row)
        console.print(table)
    for name, path in facts["paths"].items():
        console.print(f"{name}: {path}", soft_wrap=True)
