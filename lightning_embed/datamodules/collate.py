"""Rows -> texts -> tokens: what a DataLoader's worker does for each step."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from lightning_embed.batch import ANCHOR, NEGATIVE, POSITIVE, TextBatch, TokenBatch, Tokens, text_key
from lightning_embed.datamodules.no_duplicates import NoDuplicates
from lightning_embed.datamodules.plan import Plan, Step
from lightning_embed.datamodules.sources.columns import (
    DOCUMENT,
    GRADE,
    LABEL,
    NEGATIVE_SCORE,
    POSITIVE_SCORE,
    SCORE,
    number_of,
)
from lightning_embed.datamodules.sources.labelled import label_id
from lightning_embed.datamodules.sources.rows import Rows, as_list
from lightning_embed.datamodules.teacher_store.lookup import TeacherLookup
from lightning_embed.datamodules.token_cache import CachedTokenizer, cached
from lightning_embed.errors import UserError
from lightning_embed.tokenizer import TextTokenizer
from lightning_embed.utils.teacher_names import ONE, by_name

Tokenizer = TextTokenizer | CachedTokenizer


def text_batch(rows: Rows, step: Step) -> TextBatch:
    """The texts of a step's rows.

    Where a row has several positives, or more negatives than wanted, others are taken each epoch; rows of text and label get a
    positive of their label and negatives of other labels.

    Args:
        rows: The source.
        step: Which of its rows.
    """
    taken = rows.take(step.rows.tolist())
    batch = TextBatch({}, rows=rows.numbers(step.rows.tolist()), source=rows.source.title)
    for role in (ANCHOR, POSITIVE):
        if role in taken:
            batch.texts[role] = [
                value[(row + step.epoch) % len(value)] if isinstance(value, list) else value
                for row, value in zip(batch.rows, taken[role], strict=True)
            ]
    if rows.labelled is not None:
        return _drawn(rows, step, batch, taken)
    if NEGATIVE in taken:
        chosen = [_some(len(n), rows.source.negatives, step.epoch) for n in taken[NEGATIVE]]
        batch.texts[NEGATIVE] = [n[i] for n, some in zip(taken[NEGATIVE], chosen, strict=True) for i in some]
        batch.negative_counts = [len(some) for some in chosen]
    else:
        chosen = [[]] * len(batch)
    scores = taken.get(SCORE) or _scores_of_texts(taken, batch, step.epoch)
    if scores:
        batch.score = _scores(scores, batch, [len(n) for n in taken.get(NEGATIVE, [[]] * len(batch))], chosen)
    if LABEL in taken:
        labels = [label_id(label) for label in taken[LABEL]]
        batch.label = {role: labels for role in (ANCHOR, POSITIVE) if role in taken}
    if DOCUMENT in taken:
        batch.document = {POSITIVE if POSITIVE in taken else ANCHOR: [label_id(one) for one in taken[DOCUMENT]]}
    batch.grade = taken.get(GRADE)
    return batch


def _some(count: int, most: int | None, epoch: int) -> list[int]:
    """Which of a row's negatives are taken: the next ones in turn each epoch."""
    if most is None or count <= most:
        return list(range(count))
    return [(epoch * most + i) % count for i in range(most)]


def _drawn(rows: Rows, step: Step, batch: TextBatch, taken: dict[str, list[Any]]) -> TextBatch:
    """The batch with positives and negatives drawn by label."""
    assert rows.labelled is not None
    positives = rows.labelled.positives(step.rows, step.key)
    negatives = rows.labelled.draw_negatives(step.rows, step.key)
    drawn = rows.take([*positives.tolist(), *negatives.ravel().tolist()])
    labels = [label_id(label) for label in drawn[LABEL]]
    batch.texts |= {POSITIVE: drawn[ANCHOR][: len(batch)]}
    batch.label = {ANCHOR: [label_id(label) for label in taken[LABEL]], POSITIVE: labels[: len(batch)]}
    if negatives.shape[1]:
        batch.texts[NEGATIVE] = drawn[ANCHOR][len(batch) :]
        batch.negative_counts = [negatives.shape[1]] * len(batch)
        batch.label[NEGATIVE] = labels[len(batch) :]
    if DOCUMENT in drawn:
        documents = [label_id(one) for one in drawn[DOCUMENT]]
        batch.document = {POSITIVE: documents[: len(batch)]}
        if NEGATIVE in batch.texts:
            batch.document[NEGATIVE] = documents[len(batch) :]
    return batch


def _scores(values: list[Any], batch: TextBatch, given: list[int], chosen: list[list[int]]) -> dict[str, list[float]]:
    """A number per row scores its positive; a list per row scores its positive and then each of its given negatives."""
    rows = [list(map(_score, value if isinstance(value, list) else [value])) for value in values]
    scores = {POSITIVE: [row[0] for row in rows]}
    if NEGATIVE in batch.texts and any(isinstance(value, list) for value in values):
        for number, row, count in zip(batch.rows, rows, given, strict=True):
            if len(row) != 1 + count or not all(map(math.isfinite, row)):
                raise UserError(
                    f"source '{batch.source}', row {number + 1}: {len(row)} scores for 1 positive and {count} negatives"
                )
        scores[NEGATIVE] = [row[1 + i] for row, some in zip(rows, chosen, strict=True) for i in some]
    return scores


def _score(value: Any) -> float:
    number = number_of(value)
    return math.nan if number is None else number  # only where a file changed after it was checked


def _scores_of_texts(taken: dict[str, list[Any]], batch: TextBatch, epoch: int) -> list[Any]:
    """The score of each row's chosen positive, and of its negatives, where the data has them in columns of their own."""
    if POSITIVE_SCORE not in taken:
        return []
    scores = [
        value[(row + epoch) % len(value)] if isinstance(value, list) else value
        for row, value in zip(batch.rows, taken[POSITIVE_SCORE], strict=True)
    ]
    if NEGATIVE_SCORE not in taken:
        return scores
    return [[score, *as_list(others)] for score, others in zip(scores, taken[NEGATIVE_SCORE], strict=True)]


def token_batch(
    texts: TextBatch,
    student: Tokenizer,
    teacher: Tokenizer | Mapping[str, Tokenizer] | None,
    prompt_of: dict[str, str],
    max_length: int | None = None,
    stored: TeacherLookup | Mapping[str, TeacherLookup] | None = None,
) -> TokenBatch:
    """Tokenises a batch for the student and, where their vectors are not stored, its teachers.

    Args:
        texts: The batch.
        student: The student's tokenizer.
        teacher: The teacher's, or those of several by name; where one gives the same tokens as another, they are made once.
        prompt_of: Role -> whose prompt it gets.
        max_length: Tokens after which texts are cut, where the tokenizers do not cut them sooner.
        stored: The teacher's stored vectors, or those of several by name, if any.
    """
    batch = TokenBatch({}, rows=texts.rows, source=texts.source)
    teachers: dict[str, Tokenizer] = by_name(teacher)
    lookups: dict[str, TeacherLookup] = by_name(stored)
    for role, column in texts.texts.items():
        batch.student[role], cut, lost = student(column, prompt_of[role], max_length)
        batch.texts_cut, batch.tokens_lost = batch.texts_cut + cut, batch.tokens_lost + lost
        made: list[tuple[Tokenizer, Tokens]] = [(student, batch.student[role])]
        for name in {**lookups, **teachers}:
            lookup = lookups.get(name)
            vectors = None if lookup is None else lookup.vectors(texts, role, prompt_of[role], max_length)
            if vectors is not None:
                _vectors_of(batch, name)[role] = vectors
            elif name in teachers:
                tokens = next((tokens for other, tokens in made if other == teachers[name]), None)
                if tokens is None:
                    tokens = teachers[name](column, prompt_of[role], max_length)[0]
                    made.append((teachers[name], tokens))
                _tokens_of(batch, name)[role] = tokens
        batch.keys[role] = torch.tensor([text_key(text) for text in column], dtype=torch.long)
    if texts.negative_counts is not None:
        batch.negative_counts = torch.tensor(texts.negative_counts, dtype=torch.long)
    batch.score = {role: torch.tensor(values, dtype=torch.float32) for role, values in texts.score.items()}
    batch.label = {role: torch.tensor(values, dtype=torch.long) for role, values in texts.label.items()}
    batch.document = {role: torch.tensor(values, dtype=torch.long) for role, values in texts.document.items()}
    batch.grade = None if texts.grade is None else torch.tensor(texts.grade, dtype=torch.float32)
    return batch


def _vectors_of(batch: TokenBatch, teacher: str) -> dict[str, Tensor]:
    return batch.teacher_vectors if teacher == ONE else batch.vectors_of.setdefault(teacher, {})


def _tokens_of(batch: TokenBatch, teacher: str) -> dict[str, Tokens]:
    return batch.teacher if teacher == ONE else batch.tokens_of.setdefault(teacher, {})


def balanced(sizes: NDArray[np.int64], rank: int, world: int) -> NDArray[np.int64]:
    """Which rows a rank takes, so that all ranks have as many (within one) and about as much to read.

    The rows are dealt out from long to short, to and fro: 0, 1, …, W − 1, W − 1, …, 1, 0, 0, 1 …

    Args:
        sizes: (G,) how much there is to read in each row.
        rank: 0 to W - 1.
        world: W, number of ranks.

    Returns:
        Their indices, ascending.
    """
    order = np.argsort(-sizes, kind="stable")
    turn, seat = np.divmod(np.arange(len(sizes)), world)
    return np.sort(order[np.where(turn % 2, world - 1 - seat, seat) == rank])


def without_duplicates(plan: Plan, sources: Sequence[Rows]) -> NoDuplicates:
    """The plan's batches with equal texts kept out of each.

    Args:
        plan: Which rows are step k.
        sources: The opened sources.
    """

    return NoDuplicates(plan, partial(_row_keys, sources))


def _row_keys(sources: Sequence[Rows], step: Step) -> list[frozenset[int]]:
    """Keys of the texts of each row."""
    return [frozenset(map(text_key, row)) for row in text_batch(sources[step.source], step).by_row()]


class Steps(Dataset[TokenBatch]):
    """One rank's batches by step number: `steps[k]` reads, tokenises and returns this rank's share of global step k.

    Args:
        sources: The opened sources that the plan numbers.
        plan: Which rows are step k.
        student: The student's tokenizer.
        teacher: The teacher's, those of several by name, or None.
        rank: 0 to W - 1.
        world: W, number of ranks.
        balance: Whether ranks share a step's rows by their length; if not, rank r takes every W-th row from its r-th on.
        no_duplicates: Whether equal texts are kept out of a batch.
        stored: The teacher's stored vectors, or those of several by name, if any.
        cache_tokens: Whether all texts are tokenised now, or were before, and only read from then on.
    """

    def __init__(
        self,
        sources: list[Rows],
        plan: Plan,
        student: TextTokenizer,
        teacher: TextTokenizer | Mapping[str, TextTokenizer] | None,
        rank: int = 0,
        world: int = 1,
        balance: bool = False,
        no_duplicates: bool = False,
        stored: TeacherLookup | Mapping[str, TeacherLookup] | None = None,
        cache_tokens: bool = False,
    ) -> None:
        self.sources, self.stored = sources, by_name(stored)
        self.students: list[Tokenizer] = [cached(student, rows) if cache_tokens else student for rows in sources]
        self.teachers: list[dict[str, Tokenizer]] = [
            {
                name: cached(one, rows) if cache_tokens and name not in self.stored else one
                for name, one in by_name(teacher).items()
                if rows.source.has_teacher(name)
            }
            for rows in sources
        ]
        self.rank, self.world, self.balance = rank, world, balance
        self.plan = plan
        self.steps = without_duplicates(plan, sources) if no_duplicates else plan

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, step: int) -> TokenBatch:
        return self.read(self.steps[step])

    def read(self, whole: Step) -> TokenBatch:
        """This rank's share of some rows.

        Args:
            whole: The rows of all ranks.
        """
        rows = self.sources[whole.source]
        if self.balance and self.world > 1:
            texts = text_batch(rows, whole)
            sizes = np.array([sum(map(len, row)) for row in texts.by_row()])
            texts = texts.select(balanced(sizes, self.rank, self.world).tolist())
        else:
            share = whole.rows[self.rank :: self.world]
            texts = text_batch(rows, Step(whole.source, share, whole.epoch, whole.key))
        prompt_of = {role: rows.source.prompt_of(role, rows.roles) for role in texts.texts}
        student, teachers = self.students[whole.source], self.teachers[whole.source]
        stored = {name: one for name, one in self.stored.items() if rows.source.has_teacher(name)}
        batch = token_batch(texts, student, teachers, prompt_of, rows.source.max_length, stored)
        batch.task, batch.teachers = rows.task, rows.source.teachers
        return batch
