"""The text of a first job.yaml: settings with short comments that say what one would change."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from lightning_embed.starting.found import Found
from lightning_embed.starting.losses import Term
from lightning_embed.starting.models import Model
from lightning_embed.starting.sizes import BATCH, Sizes
from lightning_embed.utils.formatting import plural

WARMUP = 50
VALIDATIONS = 4
"""How often a run validates."""
BEIR_SPLITS = {"validation": "dev", "test": "test"}


@dataclass(frozen=True)
class Job:
    """Everything that the file holds."""

    command: str
    """The command line that writes it."""
    file: str
    found: Sequence[Found]
    held_out: Mapping[str, Sequence[Mapping[str, Any]]]
    """`validation` and `test` -> settings of their sources, as far as there are some."""
    teacher: Model
    student: Model
    layers: list[int] | None
    chosen: bool
    """Whether the layers were chosen by `shrink`."""
    lengths: tuple[int, int]
    """max_length of teacher and student."""
    tokens: int
    """The length that nearly all texts keep within."""
    terms: Sequence[Term]
    sizes: Sizes


def flow(content: Any) -> str:
    """YAML in one line.

    Args:
        content: A list or a mapping.
    """
    return yaml.safe_dump(content, default_flow_style=True, width=10**6, allow_unicode=True, sort_keys=False).strip()


def text_of(job: Job) -> str:
    """The file.

    Args:
        job: What it holds.
    """
    lines = [f"# {job.command}", f"# Next: doctor, cache, fit, each with --config {job.file}", *_model(job)]
    return "\n".join([*lines, *_data(job), *_trainer(job), ""])


def _model(job: Job) -> list[str]:
    same = job.teacher.name == job.student.name
    teacher = {"model": job.teacher.name, "max_length": job.lengths[0]}
    student: dict[str, Any] = {"model": job.student.name, "max_length": job.lengths[1]}
    if not same:
        starts = "`layers: [...]` starts it from some of its layers"
    elif job.layers is None:
        starts = "give a smaller one: this one has no layers to leave out"
    else:
        student["layers"] = job.layers
        which = "as `shrink` chooses them" if job.chosen else "evenly spaced; `shrink` says which are best"
        starts = f"it starts from half of the teacher's layers, {which}"
    cut = f"95 % of the texts have at most {job.tokens:,} tokens, and longer ones than max_length are cut"
    sizes = f"{job.student.dim:,} entries to {job.teacher.dim:,}"
    return [
        "model:",
        "  class_path: EmbeddingModule",
        "  init_args:",
        f"    # The model to learn from. {cut}.",
        f"    teacher: {flow(teacher)}",
        f"    # The model to train: {starts}.",
        f"    student: {flow(student)}",
        f"    # From the student's vectors to the teacher's, {sizes}, in training only.",
        "    projection: {direction: student_to_teacher}",
        "    # A larger weight makes a loss count more; docs/losses.md has the others.",
        "    losses:",
        *(f"      # {term.choice.comment}\n      {term.choice.name}: {_term(term)}" for term in job.terms),
        "    # Lower lr for a large student (1.0e-4 to 2.0e-5), or if the losses jump.",
        "    optimizer: {class_path: torch.optim.AdamW, init_args: {lr: 3.0e-4, weight_decay: 0.01, fused: true}}",
        "    lr_scheduler: {class_path: WarmupSchedule, init_args: "
        f"{{warmup_steps: {min(WARMUP, job.sizes.steps // 10)}, decay: linear}}}}",
    ]


def _term(term: Term) -> str:
    when = "" if term.when is None else f", when: {term.when}"
    return f"{{loss: {term.choice.loss}, weight: {term.weight}{when}}}"


def _data(job: Job) -> list[str]:
    largest = max(job.sizes.batches)
    lines = ["data:", "  class_path: EmbeddingDataModule", "  init_args:", "    train:"]
    for found, size in zip(job.found, job.sizes.batches, strict=True):
        own = {} if size == largest else {"batch_size": size}
        columns = ", ".join(f"{role} <- {column}" for role, column in found.columns.items())
        lines += [
            f"      # {plural(len(found.rows), 'row')}, {found.kind}: {columns}",
            f"      - {flow({**found.given, **own})}",
        ]
    for split, sources in job.held_out.items():
        lines += [f"    {split}:", *(f"      - {flow(one)}" for one in sources)]
    if job.sizes.holdout:
        lines += [
            "    # Share of the rows for validation and test; or give files: `validation: held-out.jsonl`.",
            f"    holdout: {job.sizes.holdout}",
        ]
    elif not job.held_out:
        lines.append("    # No rows are held out, for there are few: `validation: held-out.jsonl` scores the student.")
    more = "lower it if memory runs out" if largest == BATCH else "few, for the rows are few"
    lines += [f"    # Rows of a step; {more}. InfoNCE gains from more.", f"    global_batch_size: {largest}"]
    if any(found.repeats.anchor or found.repeats.positive for found in job.found):
        lines += [
            "    # Some texts are in several rows: keeps them out of each other's batch.",
            "    no_duplicates: true",
        ]
    if job.sizes.uneven:
        lines += [
            "    # More turns for small sources than by their size; a source's `weight` changes its share.",
            "    mixture: temperature",
        ]
    if any(found.bad for found in job.found):
        bad = plural(sum(found.bad for found in job.found), "row")
        lines += [f"    # {bad} cannot be used; bad_rows.jsonl of the run lists them.", "    on_bad_row: skip"]
    return lines


def _trainer(job: Job) -> list[str]:
    steps, epoch = job.sizes.steps, job.sizes.epoch
    lines = [
        "trainer:",
        f"  # {_times(steps / epoch)}, an epoch having {plural(epoch, 'step')}. More steps bring the student nearer to its teacher.",
        f"  max_steps: {steps}",
    ]
    if job.sizes.holdout or "validation" in job.held_out:
        lines += [
            "  # Steps between validations, which choose best.ckpt.",
            f"  val_check_interval: {max(1, steps // VALIDATIONS)}",
            "  check_val_every_n_epoch: null",
        ]
    return [*lines, "  gradient_clip_val: 1.0"]


def _times(epochs: float) -> str:
    return f"Every row is read {epochs:.1f} times" if epochs >= 1 else f"Reads {epochs:.0%} of the rows"
