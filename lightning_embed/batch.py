"""What travels: rows of text -> ragged tokens -> vectors.

    TextBatch --(collate, in a worker)--> TokenBatch --(module, on the device)--> EmbeddingBatch --> losses

All three speak of *columns* by role: `anchor` (B rows), `positive` (B rows) and `negative` (M rows: the negatives of all
anchors in order, `negative_counts` telling how many belong to each, so that rows may have different numbers of them).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from hashlib import blake2b
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from lightning_embed.distributed.collectives import Gathered, gather
from lightning_embed.errors import UserError
from lightning_embed.utils.teacher_names import ONE

if TYPE_CHECKING:
    from lightning_embed.heads import Projection

ANCHOR, POSITIVE, NEGATIVE = "anchor", "positive", "negative"
ROLES = (ANCHOR, POSITIVE, NEGATIVE)


def text_key(text: str) -> int:
    """A signed 64-bit hash of a text, the same in every process: equal texts are found by it across ranks."""
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little", signed=True)


@dataclass(frozen=True)
class Tokens:
    """Ragged token ids: n texts end to end, without padding."""

    ids: Tensor
    """(T,) token ids of all texts, one after the other."""
    lengths: Tensor
    """(n,) tokens of each text, on the CPU: the encoder plans by them."""

    def __len__(self) -> int:
        return len(self.lengths)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Tokens:
        """Moves the ids; the lengths stay on the CPU."""
        return Tokens(self.ids.to(device, non_blocking=non_blocking), self.lengths)

    def pin_memory(self) -> Tokens:
        """Pins the ids for a quicker copy to a GPU."""
        return Tokens(self.ids.pin_memory(), self.lengths)

    @staticmethod
    def cat(parts: list[Tokens]) -> Tokens:
        """Joins several columns into one, in order."""
        return Tokens(torch.cat([p.ids for p in parts]), torch.cat([p.lengths for p in parts]))


@dataclass
class TextBatch:
    """B rows of one source, as text."""

    texts: dict[str, list[str]]
    """Role -> texts: B for anchor and positive, M for negative."""
    negative_counts: list[int] | None = None
    """(B,) negatives of each anchor; None without negatives."""
    score: dict[str, list[float]] = field(default_factory=dict)
    """Document role -> how alike anchor and document are, as given by the data."""
    label: dict[str, list[int]] = field(default_factory=dict)
    """Role -> class of each text."""
    document: dict[str, list[int]] = field(default_factory=dict)
    """Role -> id of the document that each text is a piece of."""
    grade: list[float] | None = None
    """(B,) how relevant each positive is to its anchor, as judged; None: rows are no judgements."""
    rows: list[int] = field(default_factory=list)
    """(B,) row numbers in the source, to name a bad row by."""
    source: str = ""
    """The source's name."""

    def __len__(self) -> int:
        return len(self.texts[ANCHOR if ANCHOR in self.texts else POSITIVE])

    def by_row(self) -> list[list[str]]:
        """All texts of each row."""
        rows = [
            list(texts) for texts in zip(*(self.texts[r] for r in (ANCHOR, POSITIVE) if r in self.texts), strict=True)
        ]
        negatives = iter(self.texts.get(NEGATIVE, []))
        for row, count in zip(rows, self.negative_counts or [], strict=False):
            row += [next(negatives) for _ in range(count)]
        return rows

    def select(self, rows: Sequence[int]) -> TextBatch:
        """Some of the rows, with what belongs to them.

        Args:
            rows: Indices from 0 to B - 1.
        """
        counts = self.negative_counts or [0] * len(self)
        starts = [0, *accumulate(counts)]
        negatives = [i for row in rows for i in range(starts[row], starts[row + 1])]

        def pick(columns: dict[str, Any]) -> dict[str, Any]:
            return {role: [c[i] for i in (negatives if role == NEGATIVE else rows)] for role, c in columns.items()}

        return replace(
            self,
            texts=pick(self.texts),
            negative_counts=None if self.negative_counts is None else [counts[row] for row in rows],
            score=pick(self.score),
            label=pick(self.label),
            document=pick(self.document),
            grade=None if self.grade is None else [self.grade[row] for row in rows],
            rows=[self.rows[row] for row in rows],
        )


@dataclass
class TokenBatch:
    """B rows of one source, as tokens of the student's and the teacher's tokenizer."""

    student: dict[str, Tokens]
    """Role -> tokens of the student's tokenizer. In evaluation documents may come alone: positives without anchors."""
    teacher: dict[str, Tokens] = field(default_factory=dict)
    """Role -> tokens of the teacher's tokenizer; empty without a teacher."""
    teacher_vectors: dict[str, Tensor] = field(default_factory=dict)
    """Role -> (n, E) vectors that are known already; the teacher need not run for these."""
    keys: dict[str, Tensor] = field(default_factory=dict)
    """Role -> (n,) `text_key` of each text."""
    negative_counts: Tensor | None = None
    """(B,) negatives of each anchor."""
    score: dict[str, Tensor] = field(default_factory=dict)
    """Document role -> (n,) given similarity of anchor and document."""
    label: dict[str, Tensor] = field(default_factory=dict)
    """Role -> (n,) class of each text."""
    document: dict[str, Tensor] = field(default_factory=dict)
    """Role -> (n,) id of the document that each text is a piece of."""
    grade: Tensor | None = None
    """(B,) how relevant each positive is to its anchor, as judged: the other rows of an anchor are relevant to it too."""
    rows: list[int] = field(default_factory=list)
    """(B,) row numbers in the source."""
    source: str = ""
    """The source's name."""
    task: str = "retrieval"
    """What its rows teach, and how they are scored where they are held out: see `Source.task`."""
    texts_cut: int = 0
    """Texts of this batch that were longer than the student's max_length."""
    tokens_lost: int = 0
    """Tokens that were cut off them."""
    tokens_of: dict[str, dict[str, Tokens]] = field(default_factory=dict)
    """Name -> `teacher` of that one, where there are several teachers."""
    vectors_of: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    """Name -> `teacher_vectors` of that one, where there are several teachers."""
    teachers: list[str] | None = None
    """Names of the teachers whose losses are for it, the same on every rank; None: all."""

    def __len__(self) -> int:
        return len(self.student[ANCHOR if ANCHOR in self.student else POSITIVE])

    def of_teacher(self, name: str) -> TokenBatch:
        """The same batch with the tokens and vectors of one of several teachers as `teacher` and `teacher_vectors`.

        Args:
            name: The teacher's; `ONE`: the lone one's, which are there already.
        """
        if name == ONE:
            return self
        return replace(self, teacher=self.tokens_of.get(name, {}), teacher_vectors=self.vectors_of.get(name, {}))

    @property
    def columns(self) -> frozenset[str]:
        """Which roles it has texts of, and which of `score`, `label` and `document` are given: the same on every rank."""
        return frozenset(self.student) | {name for name in ("score", "label", "document") if getattr(self, name)}

    @property
    def token_count(self) -> int:
        """Real tokens that the student reads."""
        return sum(int(t.lengths.sum()) for t in self.student.values())

    def _map(self, function: Callable[[Any], Any]) -> TokenBatch:
        """The same batch with a function applied to every tensor and column of tokens."""

        def apply(value: Any) -> Any:
            if isinstance(value, Tensor | Tokens):
                return function(value)
            return {key: apply(v) for key, v in value.items()} if isinstance(value, dict) else value

        return TokenBatch(**{f.name: apply(getattr(self, f.name)) for f in fields(self)})

    def to(self, device: torch.device | str, non_blocking: bool = False) -> TokenBatch:
        """Moves every tensor to a device."""
        return self._map(lambda value: value.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> TokenBatch:
        """Pins every tensor (called by a DataLoader with `pin_memory`)."""
        return self._map(lambda value: value.pin_memory())


def check_batch(batch: object) -> TokenBatch:
    """The same batch; raises `UserError` if what a DataLoader gives is no `TokenBatch`.

    Args:
        batch: What it gives.
    """
    if not isinstance(batch, TokenBatch):
        held = f" of {', '.join(map(str, list(batch)[:5]))}" if isinstance(batch, dict) else ""
        raise UserError(
            f"expected batches that are a lightning_embed.TokenBatch, got a {type(batch).__name__}{held}: a DataModule of your own "
            "tokenises with `trainer.lightning_module.tokenizers`, as lightning_embed.datamodules.collate.token_batch does"
        )
    return batch


View = Callable[[str, Tensor], Tensor]
"""Role and (n, D) vectors -> (n, k) vectors, row by row."""


class Taught(NamedTuple):
    """What one of several teachers gives a batch."""

    vectors: dict[str, Tensor]
    """Role -> (n, E) teacher vectors."""
    projection: Projection | None
    """The teacher's ψ."""


@dataclass
class EmbeddingBatch:
    """What a loss sees: this rank's vectors by role, before normalisation, and what is known of the texts."""

    student: dict[str, Tensor]
    """Role -> (n, D) student vectors."""
    teacher: dict[str, Tensor] = field(default_factory=dict)
    """Role -> (n, E) teacher vectors."""
    reference: dict[str, Tensor] = field(default_factory=dict)
    """Role -> (n, D) vectors of the student's own backbone with its adapter off."""
    projection: Projection | None = None
    """ψ, which brings student and teacher vectors into one space."""
    keys: dict[str, Tensor] = field(default_factory=dict)
    """Role -> (n,) int64 `text_key` of each text."""
    negative_counts: Tensor | None = None
    """(B,) negatives of each anchor; None without negatives."""
    score: dict[str, Tensor] = field(default_factory=dict)
    """Document role -> (n,) given similarity of anchor and document."""
    label: dict[str, Tensor] = field(default_factory=dict)
    """Role -> (n,) class of each text."""
    document: dict[str, Tensor] = field(default_factory=dict)
    """Role -> (n,) int64 id of the document that each text is of; texts of one document must not count as negatives of each other."""
    source: str = ""
    """The source's name, for messages."""
    step: int = 0
    """Optimizer steps done: what a loss that draws at random draws by, so that every rank and every resumed run draws alike."""
    whole: EmbeddingBatch | None = field(default=None, repr=False)
    """The batch that this one is a view of."""
    view: View | None = field(default=None, repr=False)
    """What the view makes of the student vectors of `whole`."""
    by_teacher: dict[str, Taught] = field(default_factory=dict, repr=False)
    """Where there are several teachers: name -> what it gives. A loss gets the batch `of_teacher` of its own."""
    taught_by: str = ONE
    """The name of the one of several teachers whose vectors these are."""
    _gathered: dict[tuple[str, str, str], Gathered] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.student[ANCHOR])

    def has(self, what: str) -> bool:
        """Whether the batch carries what a loss may require: a role, `teacher`, `reference`, `score`, `label` or `projection`."""
        if what in ROLES:
            return what in self.student
        value = getattr(self, what)
        return value is not None and value != {}

    def gather(self, column: str, role: str) -> Gathered:
        """A column of all ranks, exchanged once and shared by all losses.

        Args:
            column: `student`, `teacher`, `reference`, `keys`, `label`, `document` or `score`.
            role: `anchor`, `positive` or `negative`.
        """
        if self.whole is not None and self.view is not None:
            rows, offset = self.whole.gather(column, role)
            return Gathered(self.view(role, rows) if column == "student" else rows, offset)
        key = (column, role, self.taught_by if column == "teacher" else ONE)
        if key not in self._gathered:
            self._gathered[key] = gather(getattr(self, column)[role])
        return self._gathered[key]

    def texts(self, column: str, roles: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Several roles end to end: this rank's rows and every rank's; roles that the batch lacks are left out.

        Args:
            column: As for `gather`.
            roles: Columns to take, of `anchor`, `positive` and `negative`.
        """
        present = [role for role in roles if role in self.student]
        mine = torch.cat([getattr(self, column)[role] for role in present])
        return mine, torch.cat([self.gather(column, role).rows for role in present])

    @property
    def negative_owner(self) -> Tensor:
        """(M,) the row of the anchor that each negative belongs to; without counts, all anchors have equally many."""
        negatives, device = len(self.student[NEGATIVE]), self.student[NEGATIVE].device
        counts = self.negative_counts
        if counts is None:
            counts = torch.full((len(self),), negatives // max(1, len(self)), device=device)
        if int(counts.sum()) != negatives:
            raise UserError(
                f"source '{self.source}': {negatives} negatives, but the counts of {len(self)} anchors say {int(counts.sum())}"
            )
        return torch.repeat_interleave(counts.to(device))

    @property
    def dim(self) -> int:
        """D, the size of the student's vectors."""
        return next(iter(self.student.values())).shape[-1]

    def of_teacher(self, name: str | None) -> EmbeddingBatch:
        """The same batch with the vectors and the projection of one of several teachers; gathers are shared.

        Args:
            name: The teacher's; None: the batch as it is.
        """
        if name is None:
            return self
        vectors, projection = self.by_teacher.get(name, Taught({}, None))
        return replace(self, teacher=vectors, projection=projection, taught_by=name)

    def map_student(self, function: View) -> EmbeddingBatch:
        """The same batch with a function applied to the student vectors; gathers are shared.

        Args:
            function: Role and (n, D) vectors -> (n, k) vectors, each from its own row alone, the same on every rank.
        """
        student = {role: function(role, vectors) for role, vectors in self.student.items()}
        return replace(self, student=student, whole=self, view=function)

    def truncate(self, dim: int) -> EmbeddingBatch:
        """The same batch with the first `dim` entries of each student vector (Matryoshka); gathers are shared.

        Args:
            dim: 1 to D.
        """
        return self if dim == self.dim else self.map_student(lambda _, vectors: vectors[:, :dim])
