"""The README.md of an exported model, written from what its run left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning_embed.encoders.text_encoder import TextEncoder
from lightning_embed.errors import UserError
from lightning_embed.utils.configs import arguments_of, teachers_in
from lightning_embed.utils.version import __version__


def model_card(
    encoder: TextEncoder,
    name: str,
    config: Mapping[str, Any],
    run: Path | None,
    facts: list[str],
    usage: Sequence[str] = (),
    adapter_on: str | None = None,
) -> str:
    """A model card: what it is, how to use it, what it learnt from, how it scored; the licence is left to the owner.

    Args:
        encoder: The student.
        name: What to call it.
        config: The run's configuration; empty where there is none.
        run: The run's folder, whose report.json tells scores; None where there is none.
        facts: Sentences about the export, such as how exactly it was reproduced.
        usage: Lines that tell more of how to use it.
        adapter_on: The name of its base, if it is an adapter alone; None: a whole model.
    """
    from lightning_embed.evaluation.reports.run_report import usage_lines

    model = arguments_of(config.get("model"))
    lines = [*_front_matter(encoder, adapter_on, _hub_data(config)), f"# {name}", ""]
    if adapter_on is not None and encoder.adapter is not None:
        lines += [
            f"A LoRA adapter of rank {encoder.adapter.rank} on `{adapter_on}`, without which it is not a model. Both together are:",
            "",
        ]
    lines += [
        f"A sentence-transformers model of {encoder.dim} dims that reads up to {encoder.tokenizer.max_length:,} tokens "
        f"({type(encoder.backbone).__name__}, {encoder.config.num_hidden_layers} layers, "
        f"{encoder.parameter_count / 1e6:.1f} M parameters, {encoder.pooling} pooling).",
        "",
    ]
    lines += ["## Use it", "", *usage_lines(name, "this folder's path; "), "", *usage]
    if model:
        lines += ["## Training", "", *_training(model, config), ""]
    lines += _scores(run)
    lines += ["## Export", "", *(f"- {fact}" for fact in facts), f"- Written by lightning_embed {__version__}.", ""]
    lines += [
        "## Licence",
        "",
        "To be filled in by the owner, here and as `license:` at the top. It has to agree with the licences of the model that the "
        "student started from, of the teacher, and of the data.",
        "",
    ]
    return "\n".join(lines)


def public_name(named: str) -> str:
    """What a model, file or folder is called where others read it: of a path that holds on this machine alone, the last part.

    Args:
        named: A path, or an id of a hub.
    """
    from lightning_embed.evaluation.models import split_name

    return split_name(named)[0] if named.startswith(("/", "~")) else named


def _sources(config: Mapping[str, Any]) -> list[str]:
    """The paths and ids that a run trained on, as its configuration has them."""
    sources = arguments_of(config.get("data") or {}).get("train") or []
    paths = [s.get("path", s) if isinstance(s, Mapping) else s for s in sources]
    return [str(one) for path in paths for one in (path if isinstance(path, list) else [path])]


def _hub_data(config: Mapping[str, Any]) -> list[str]:
    """Ids of data sets of the hub among what a run trained on."""
    from lightning_embed.datamodules.sources.paths import is_hub_id

    return list(dict.fromkeys(path for path in _sources(config) if is_hub_id(path)))


def _front_matter(encoder: TextEncoder, adapter_on: str | None, data_sets: Sequence[str]) -> list[str]:
    name = adapter_on or encoder.model
    public = not encoder.is_local or adapter_on not in (None, public_name(encoder.model))
    base = [f"base_model: {name}"] if public else []
    library, kind = "sentence-transformers", ""
    if adapter_on is not None:
        base += ["base_model_relation: adapter"] if public else []
        library, kind = "peft", ", peft, lora"
    return [
        "---",
        f"library_name: {library}",
        "pipeline_tag: sentence-similarity",
        f"tags: [sentence-transformers, feature-extraction, lightning_embed{kind}]",
        *base,
        *(["datasets:", *(f"- {name}" for name in data_sets)] if data_sets else []),
        "# language:       left for the owner",
        "# license:        left for the owner",
        "# license_name:   left for the owner",
        "# license_link:   left for the owner",
        "---",
        "",
    ]


def _training(model: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    student = arguments_of(model.get("student"))
    lines = [
        f"- Started from `{public_name(str(student.get('model', '?')))}`"
        + (f", layers {student['layers']}" if student.get("layers") else "")
    ]
    if student.get("adapter") is not None:
        lines[-1] += f", by a LoRA adapter of rank {arguments_of(student['adapter']).get('rank', 32)}"
    if student.get("random_init"):
        lines[-1] += ", with random weights"
    for name, settings in teachers_in(model).items():
        teacher = arguments_of(settings)
        who = f"Teacher {name}" if name else "Teacher"
        lines.append(f"- {who}: `{public_name(str(teacher.get('model') or teacher.get('name') or '?'))}`")
    for name, term in (model.get("losses") or {}).items():
        term = arguments_of(term)
        loss = term["loss"]
        kind = loss if isinstance(loss, str) else loss["class_path"]
        lines.append(f"- Loss `{name}`: {kind.rpartition('.')[2]}, weight {term.get('weight', 1.0)}")
        if term.get("teacher"):
            lines[-1] += f", teacher {term['teacher']}"
    data = config.get("data") or {}
    arguments = arguments_of(data)
    named = ", ".join(f"`{public_name(path)}`" for path in _sources(config))
    lines.append(f"- Data: {named or data.get('class_path', '?').rpartition('.')[2]}")
    trainer = config.get("trainer") or {}
    if arguments.get("global_batch_size"):
        lines.append(f"- {trainer.get('max_steps', '?')} steps of {arguments['global_batch_size']} rows")
    return lines


def _scores(run: Path | None) -> list[str]:
    if run is None or not (run / "report.json").is_file():
        return []
    from lightning_embed.evaluation.reports.names import metric_title
    from lightning_embed.evaluation.reports.run_report import load_report, markdown_table
    from lightning_embed.evaluation.reports.tables import grid_table, models_table

    try:
        report = load_report(run / "report.json")
    except UserError:  # an older run's: the card does without
        return []
    lines = ["## Scores", ""]
    if report.scored_on:
        lines += [f"Times 100, on {report.scored_on}:", ""]
    lines += markdown_table(models_table(report))
    if report.models and report.models[-1].grid:
        lines += [f"{metric_title(report.metric)} with fewer dims and lower precision:", ""]
        lines += markdown_table(grid_table(report.models[-1], report.metric))
    return lines
