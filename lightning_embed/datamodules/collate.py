"""Rows -> texts -> tokens: what a DataLoader's worker does for each step."""

import math
from typing import Any

import torch
from torch.utils.data import Dataset

from lightning_embed.batch import ANCHOR, NEGATIVE, POSITIVE, TextBatch, TokenBatch, text_key
from lightning_embed.datamodules.plan import Plan, Step
from lightning_embed.datamodules.sources import LABEL, SCORE, Rows
from lightning_embed.errors import UserError
from lightning_embed.tokenizer import TextTokenizer


def text_batch(rows: Rows, step: Step) -> TextBatch:
    """The texts of a step's rows; where a row has several positives, another one is taken each epoch.

    Args:
        rows: The source.
        step: Which of its rows.
    """
    numbers = step.rows.tolist()
    taken = rows.take(numbers)
    batch = TextBatch({}, rows=numbers, source=rows.source.title)
    for role in (ANCHOR, POSITIVE):
        if role in taken:
            batch.texts[role] = [
                value[(row + step.epoch) % len(value)] if isinstance(value, list) else value
                for row, value in zip(numbers, taken[role], strict=True)
            ]
    if NEGATIVE in taken:
        batch.texts[NEGATIVE] = [text for negatives in taken[NEGATIVE] for text in negatives]
        batch.negative_counts = [len(negatives) for negatives in taken[NEGATIVE]]
    if SCORE in taken:
        batch.score = _scores(taken[SCORE], batch)
    if LABEL in taken:
        batch.label = dict.fromkeys((ANCHOR, POSITIVE), taken[LABEL])
    return batch


def _scores(values: list[Any], batch: TextBatch) -> dict[str, list[float]]:
    """A number per row scores its positive; a list per row scores its positive and then its negatives."""
    try:
        rows = [[float(v) for v in value] if isinstance(value, list) else [float(value)] for value in values]
        bad = next((i for i, row in enumerate(rows) if not all(math.isfinite(v) for v in row)), None)
    except (TypeError, ValueError):
        bad = 0
        rows = []
    if bad is not None:
        raise UserError(
            f"source '{batch.source}', row {batch.rows[bad] + 1}: score must be a finite number, got {values[bad]!r}"
        )
    scores = {POSITIVE: [row[0] for row in rows]}
    if batch.negative_counts and any(len(row) > 1 for row in rows):
        for number, row, count in zip(batch.rows, rows, batch.negative_counts, strict=True):
            if len(row) != 1 + count:
                raise UserError(
                    f"source '{batch.source}', row {number + 1}: {len(row)} scores for 1 positive and {count} negatives"
                )
        scores[NEGATIVE] = [score for row in rows for score in row[1:]]
    return scores


def token_batch(
    texts: TextBatch, student: TextTokenizer, teacher: TextTokenizer | None, prompt_of: dict[str, str]
) -> TokenBatch:
    """Tokenises a batch for the student and, if there is one, the teacher.

    Args:
        texts: The batch.
        student: The student's tokenizer.
        teacher: The teacher's; where it gives the same tokens as the student's, they are made once.
        prompt_of: Role -> whose prompt it gets.
    """
    batch = TokenBatch({}, rows=texts.rows, source=texts.source)
    for role, column in texts.texts.items():
        batch.student[role], cut, lost = student(column, prompt_of[role])
        batch.texts_cut, batch.tokens_lost = batch.texts_cut + cut, batch.tokens_lost + lost
        if teacher is not None:
            batch.teacher[role] = batch.student[role] if teacher == student else teacher(column, prompt_of[role])[0]
        batch.keys[role] = torch.tensor([text_key(text) for text in column], dtype=torch.long)
    if texts.negative_counts is not None:
        batch.negative_counts = torch.tensor(texts.negative_counts, dtype=torch.long)
    batch.score = {role: torch.tensor(values, dtype=torch.float32) for role, values in texts.score.items()}
    batch.label = {role: torch.tensor(values, dtype=torch.long) for role, values in texts.label.items()}
    return batch


class Steps(Dataset[TokenBatch]):
    """One rank's batches by step number: `steps[k]` reads, tokenises and returns this rank's share of global step k.

    Args:
        sources: The opened sources that the plan numbers.
        plan: Which rows are step k.
        student: The student's tokenizer.
        teacher: The teacher's, or None.
        rank: Which rank.
        world: W, number of ranks.
    """

    def __init__(
        self,
        sources: list[Rows],
        plan: Plan,
        student: TextTokenizer,
        teacher: TextTokenizer | None,
        rank: int,
        world: int,
    ) -> None:
        self.sources, self.plan, self.student, self.teacher = sources, plan, student, teacher
        self.rank, self.world = rank, world

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, step: int) -> TokenBatch:
        share = self.plan.share(step, self.rank, self.world)
        rows = self.sources[share.source]
        prompt_of = {role: rows.source.prompt_of(role, rows.roles) for role in rows.roles}
        return token_batch(text_batch(rows, share), self.student, self.teacher, prompt_of)
