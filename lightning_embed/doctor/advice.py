"""What is legal but dubious, and what to do about it: one line each."""

from collections.abc import Iterable

from lightning_embed.datamodules.sources.columns import GRADE
from lightning_embed.doctor.facts import BatchFacts, Diagnosis, SourceFacts, StoreFacts
from lightning_embed.utils.formatting import share, size

CUT = 0.05
REPEATED_ROWS = 0.05
REPEATED_ANCHORS = 0.5
OWN = 0.01
IN_BATCH = 0.01
MANY_EPOCHS = 20
SMALL_PART = 0.1
"""Part of the rows, below which a run reads hardly any of its data."""


def source_advice(source: SourceFacts) -> Iterable[str]:
    """What to say of a source's texts.

    Args:
        source: What it holds.
    """
    name = f"source '{source.title}'"
    for role in source.roles:
        if role.cut > CUT:
            chunk = (
                ", or cut them in pieces with long_texts: chunk"
                if role.role == "positive" and source.split == "train"
                else ""
            )
            yield (
                f"{name}: {share(role.cut)} of its {role.role} texts are longer than {role.max_length} tokens and are cut, by which "
                f"{share(role.lost)} of their tokens are lost: raise max_length (the longest has {role.most:,} tokens){chunk}"
            )
    repeats = source.repeats
    shares = (
        (
            "row",
            repeats.row,
            REPEATED_ROWS,
            "rows repeat an earlier row: take them out, or they count more than the others",
        ),
        (
            "anchor",
            0 if GRADE in source.columns else repeats.anchor,  # judgements of one query
            REPEATED_ANCHORS,
            "rows repeat an earlier row's anchor: make one row of them, with a list of positives",
        ),
        ("own", repeats.own, OWN, "rows have the anchor as the positive, which teaches nothing: take them out"),
        (
            "false",
            repeats.false_negative,
            OWN,
            "rows name their own anchor or positive as a negative: take it off their negatives",
        ),
    )
    many_rows = repeats.row > REPEATED_ROWS * repeats.rows
    for what, count, most, fault in shares:
        if count > most * repeats.rows and not (what == "anchor" and many_rows):
            yield f"{name}: {count:,} of {repeats.rows:,} {fault}"
    if source.tiny_classes and source.split == "train":
        yield (
            f"{name}: {source.tiny_classes} of {source.classes} labels have fewer than 5 rows, so that their rows meet the same few "
            "positives over and over: merge such labels, or leave them out with a filter"
        )


def batch_advice(source: SourceFacts, batch: BatchFacts, no_duplicates: bool, contrastive: bool) -> Iterable[str]:
    """What to say of a source's batches.

    Args:
        source: What it holds.
        batch: What its batches come to.
        no_duplicates: Whether equal texts are kept out of a batch.
        contrastive: Whether a loss contrasts a row with others.
    """
    name = f"source '{source.title}'"
    if source.rows < batch.batch_size:
        yield (
            f"{name}: it has {source.rows:,} rows, fewer than a batch of {batch.batch_size:,}: all its batches are the same rows; "
            f"give it a batch_size of {max(1, source.rows // 4):,} or so"
        )
    if batch.turns == 0:
        yield (
            f"{name}: the run ends before its first batch: raise trainer.max_steps or the source's weight, or take "
            "mixture: round_robin"
        )
    if batch.no_batch > IN_BATCH:
        yield (
            f"{name}: no_duplicates leaves out {share(batch.no_batch)} of its rows, which have a text of another row of their batch: "
            "give it a smaller batch_size, or merge rows of the same text into one with a list of positives"
        )
    if batch.repeated > IN_BATCH and not no_duplicates and not source.classes:
        yield (
            f"{name}: {share(batch.repeated)} of a batch's rows have an anchor or positive that another row of the batch has too: "
            "set data.no_duplicates: true"
        )
    if contrastive and batch.negatives_least == 0:
        yield (
            f"{name}: some anchors see no negative at all (on average {batch.negatives:.0f} of {batch.documents:.0f} documents): "
            "give it a larger batch_size"
        )
    elif contrastive and batch.negatives < 0.5 * batch.documents:
        yield (
            f"{name}: an anchor sees only {batch.negatives:.0f} of {batch.documents:.0f} documents as negatives, the others are of its "
            "text, label or document: give it a larger batch_size"
        )


def plan_advice(found: Diagnosis) -> Iterable[str]:
    """What to say of the run's length and memory.

    Args:
        found: All facts.
    """
    rows = sum(source.rows for source in found.sources if source.split == "train")
    if found.steps is not None and rows:
        epochs = found.steps / found.steps_per_epoch
        if epochs > MANY_EPOCHS:
            yield (
                f"trainer.max_steps {found.steps:,}: an epoch has {found.steps_per_epoch:,} steps, so the data is read {epochs:,.0f} "
                "times: lower max_steps, or give more data"
            )
        if epochs < SMALL_PART:
            yield (
                f"trainer.max_steps {found.steps:,}: an epoch has {found.steps_per_epoch:,} steps, so {share(epochs)} of the data is read: "
                "raise max_steps, or leave it so if that is meant"
            )
    if found.memory_there is not None and found.memory.total > found.memory_there:
        ways = ", ".join(f"{setting} ({size(total)})" for setting, total in found.memory_changes)
        yield (
            f"the longest batch needs about {size(found.memory.total)} on each device ({found.layout}), and there are "
            f"{size(found.memory_there)}: set {ways + ', or ' if ways else ''}a smaller batch; several add up"
        )


def store_advice(store: StoreFacts) -> Iterable[str]:
    """What to say of the teacher store.

    Args:
        store: What it has.
    """
    lacking = sum(one.texts - one.stored for one in store.sources)
    if store.damaged:
        yield f"teacher store: {store.damaged} damaged shards in {store.path}: python -m lightning_embed cache computes them again"
    if lacking and any(one.stored for one in store.sources):
        yield (
            f"teacher store: {lacking:,} of {sum(one.texts for one in store.sources):,} texts looked at have no stored vector, for "
            "which the teacher is loaded and run: python -m lightning_embed cache stores them"
        )


def encoder_advice(
    name: str, named: dict[str, str], used: dict[str, str], max_tokens: int, max_length: int
) -> Iterable[str]:
    """What to say of an encoder's settings.

    Args:
        name: `student` or `teacher`.
        named: Prompts that its folder names.
        used: Name -> text of the prompts that its texts get, as set.
        max_tokens: Token budget of a forward.
        max_length: Tokens after which it cuts a text.
    """
    if named and not any(used.values()):
        yield (
            f"model.{name}: its folder names prompts ({', '.join(sorted(named))}), but its texts get none ({', '.join(sorted(used))} "
            f"are asked for): set {name}.prompts, e.g. {{query: {next(iter(named.values()))!r}}}"
        )
    if max_tokens < max_length:
        yield (
            f"model.{name}: max_tokens {max_tokens:,} is less than max_length {max_length:,}, so a single text may exceed the budget: "
            "raise max_tokens, or lower max_length"
        )
