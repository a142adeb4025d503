"""A source's batches, as training reads them: padding, negatives that an anchor really sees, and the longest."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_embed.batch import ANCHOR, NEGATIVE, POSITIVE, EmbeddingBatch, TokenBatch
from lightning_embed.datamodules.collate import Steps
from lightning_embed.datamodules.plan import Plan, Step
from lightning_embed.doctor.facts import BatchFacts
from lightning_embed.doctor.texts import within
from lightning_embed.encoders.chunks import plan_chunks
from lightning_embed.losses import InfoNCE
from lightning_embed.losses.masks import (
    Contrast,
    FalseNegatives,
    count_negatives,
    same_document,
    same_label,
    same_text,
)

LOOKED_AT, LOOKED_AT_CHARACTERS = 12, 8_000_000
"""Batches of each source that are read, and their characters, after which no more are (one is, whatever its length)."""
LONGEST = 2
"""Batches with the most characters, among all of an epoch, that are read too."""
SEARCHED_BATCHES = 5_000
COUNTED_STEPS = 200_000
"""Steps of a run that are gone through one by one; from more, the rest is reckoned."""


@dataclass(frozen=True)
class Ask:
    """How the batches are used."""

    roles: frozenset[str]
    """Roles that the losses take; anchors are always encoded."""
    max_tokens: int
    """The student's token budget of one forward."""
    checkpoint_chunks: bool
    """Whether it keeps one forward at a time."""
    contrast: InfoNCE | None
    """The loss that says which documents are masked, and whether other ranks' count."""


def chunks_of(lengths: Sequence[int], max_tokens: int) -> list[tuple[int, int]]:
    """(texts, tokens of the longest) of each forward.

    Args:
        lengths: Tokens of each text.
        max_tokens: Token budget of a forward.
    """
    ordered = sorted(lengths, reverse=True)
    return [(part.stop - part.start, ordered[part.start]) for part in plan_chunks(ordered, max_tokens)]


def padding_share(tokens: int, chunks: Sequence[tuple[int, int]]) -> float:
    """1 − tokens / Σ n·l, the share of padding.

    Args:
        tokens: Real tokens.
        chunks: n texts and l tokens of each forward.
    """
    return 1 - tokens / max(1, sum(n * length for n, length in chunks))


def negatives_seen(batch: TokenBatch, loss: InfoNCE | None) -> Tensor:
    """(B,) documents that each anchor is contrasted with, by the very masks of the loss (but for those by the teacher's vectors).

    Args:
        batch: The rows whose documents are shared.
        loss: The loss; None: one with the default masks.
    """
    if POSITIVE not in batch.student:  # texts alone are contrasted with nothing
        return torch.zeros(len(batch), dtype=torch.long)
    none_yet = {role: torch.zeros(len(tokens), 1) for role, tokens in batch.student.items()}
    vectors = EmbeddingBatch(
        none_yet, keys=batch.keys, negative_counts=batch.negative_counts, label=batch.label, document=batch.document
    )
    rules = (same_text, same_label, same_document) if loss is None else loss.rules
    contrast = Contrast(vectors, ANCHOR, (POSITIVE, NEGATIVE) if vectors.has(NEGATIVE) else (POSITIVE,))
    return count_negatives(contrast, FalseNegatives([ids for rule in rules for ids in rule(contrast)]))


def repeated_rows(batch: TokenBatch) -> int:
    """How many rows there are whose anchor or positive another row of the batch has among its texts.

    Args:
        batch: The rows.
    """
    owners = {role: torch.arange(len(batch)) for role in (ANCHOR, POSITIVE)}
    if batch.negative_counts is not None:
        owners[NEGATIVE] = torch.repeat_interleave(batch.negative_counts)
    rows_of: dict[int, set[int]] = {}
    for role, keys in batch.keys.items():
        for key, row in zip(keys.tolist(), owners[role].tolist(), strict=True):
            rows_of.setdefault(key, set()).add(row)
    pairs = zip(*(batch.keys[role].tolist() for role in (ANCHOR, POSITIVE) if role in batch.keys), strict=True)
    return sum(any(len(rows_of[key]) > 1 for key in pair) for pair in pairs)


def longest_turns(plan: Plan, source: int, characters: NDArray[np.int64]) -> list[int]:
    """The turns of a source's first epoch with the most characters.

    Args:
        plan: Which rows are step k.
        source: Its number in the plan, from 0.
        characters: (n,) of each of its rows.
    """
    turns = range(min(plan.batches(source), SEARCHED_BATCHES))
    sums = [int(characters[plan.batch(source, turn).rows].sum()) for turn in turns]
    return np.argsort(sums)[::-1][:LONGEST].tolist()


@dataclass(frozen=True)
class _Look:
    """One batch."""

    rows: int
    tokens: int
    whole: int
    """Tokens, were it padded to its longest text."""
    chunks: list[tuple[int, int]]
    anchors: int
    """Rows of one rank."""
    negatives: Tensor
    documents: int
    repeated: int


def _look(steps: Steps, share: Steps, whole: Step, ask: Ask) -> _Look:
    mine = share.read(whole)
    others = share is not steps and (ask.contrast is None or ask.contrast.shared)
    together = steps.read(whole) if others else mine
    columns = [tokens.lengths for role, tokens in mine.student.items() if role == ANCHOR or role in ask.roles]
    lengths = torch.cat(columns).tolist()
    return _Look(
        rows=len(whole.rows),
        tokens=sum(lengths),
        whole=len(lengths) * max(lengths),
        chunks=chunks_of(lengths, ask.max_tokens),
        anchors=len(mine),
        negatives=negatives_seen(together, ask.contrast).float(),
        documents=max(0, sum(len(tokens) for role, tokens in together.student.items() if role != ANCHOR) - 1),
        repeated=repeated_rows(together),
    )


def _kept(look: _Look, ask: Ask) -> list[tuple[int, int]]:
    """The forwards of a batch that are kept at once."""
    return [max(look.chunks, key=math.prod)] if ask.checkpoint_chunks else look.chunks


def batch_facts(
    steps: Steps,
    share: Steps,
    source: int,
    row_characters: float,
    characters: NDArray[np.int64] | None,
    turns: int,
    ask: Ask,
) -> BatchFacts:
    """What a source's batches come to.

    Args:
        steps: Reads the batches of all ranks.
        share: Reads one rank's share of them.
        source: Its number in the plan, from 0.
        row_characters: Mean characters of a row's texts.
        characters: (n,) characters of each of its rows, if known.
        turns: Its steps in the whole run.
        ask: How the batches are used.
    """
    plan, dealt = steps.plan, steps.steps
    batches = plan.batches(source)
    count = within(row_characters * plan.batch_sizes[source], min(batches, LOOKED_AT), LOOKED_AT_CHARACTERS)
    moved = dealt is not plan  # rows are moved among batches: those that are near each other are found together
    spread = range(count) if moved else np.linspace(0, batches - 1, count).astype(int).tolist()
    searched = characters is not None and not moved and count > LONGEST and batches <= SEARCHED_BATCHES
    found = longest_turns(plan, source, characters) if characters is not None and searched else []
    chosen = [whole for turn in spread if len((whole := dealt.batch(source, turn)).rows)]
    looks = [_look(steps, share, whole, ask) for whole in chosen]
    longest = [_look(steps, share, plan.batch(source, turn), ask) for turn in found]
    largest = max([*looks, *longest], key=lambda look: sum(map(math.prod, _kept(look, ask))))
    tokens, negatives = sum(look.tokens for look in looks), torch.cat([look.negatives for look in looks])
    return BatchFacts(
        batch_size=plan.batch_sizes[source],
        rows=max(look.rows for look in looks),
        steps=plan.steps_of[source],
        turns=turns,
        looked_at=len(looks),
        padding_before=1 - tokens / sum(look.whole for look in looks),
        padding_after=padding_share(tokens, [chunk for look in looks for chunk in look.chunks]),
        documents=float(np.mean([look.documents for look in looks])),
        negatives_least=int(negatives.min()),
        negatives=float(negatives.mean()),
        repeated=sum(look.repeated for look in looks) / sum(look.rows for look in looks),
        chunks=_kept(largest, ask),
        anchors=largest.anchors,
        no_batch=1 - sum(look.rows for look in looks) / sum(len(plan.batch(source, turn).rows) for turn in spread),
        longest_known=searched or count == batches,
    )


def turns_of(plan: Plan, steps: int | None) -> list[int]:
    """Steps of each source in a run.

    Args:
        plan: Which rows are step k.
        steps: Steps of the run; None: one epoch.
    """
    epochs, rest = divmod(len(plan) if steps is None else steps, len(plan))
    turns = [epochs * each for each in plan.steps_of]
    counted = range(epochs * len(plan), epochs * len(plan) + min(rest, COUNTED_STEPS))
    counts = np.bincount([plan.turn(step)[0] for step in counted], minlength=len(turns))
    scale = rest / max(1, len(counted))
    return [whole + round(int(part) * scale) for whole, part in zip(turns, counts, strict=True)]
