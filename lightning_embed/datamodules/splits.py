"""The opened sources of each split, and which rows of the training sources are held out for another."""

from collections.abc import Callable, Mapping
from typing import Any

from lightning_embed.batch import ANCHOR, POSITIVE
from lightning_embed.datamodules.holdout import restricted, split_rows
from lightning_embed.datamodules.sources.bad_rows import BadRows
from lightning_embed.datamodules.sources.chunks import chunked
from lightning_embed.datamodules.sources.given import as_sources
from lightning_embed.datamodules.sources.held_out import open_held_out
from lightning_embed.datamodules.sources.opening import open_source
from lightning_embed.datamodules.sources.rows import Rows
from lightning_embed.datamodules.sources.source import Source
from lightning_embed.errors import UserError
from lightning_embed.tokenizer import TextTokenizer

EVALUATION = ("validation", "test")


class Splits:
    """Opens the sources of a split when they are first asked for.

    Args:
        sources_of: Gives the sources of `train`, `validation`, `test` or `predict`.
        holdout: Share of each training source's rows, 0 to 1, for validation and test where these have no sources.
        bad_rows: What becomes of rows that cannot be used.
    """

    def __init__(self, sources_of: Callable[[str], list[Source]], holdout: float, bad_rows: BadRows) -> None:
        self.sources_of, self.holdout, self.bad_rows = sources_of, holdout, bad_rows
        self._opened: dict[str, list[Rows]] = {}
        self._parts: tuple[list[Rows], list[dict[str, Any]]] | None = None

    def rows(self, split: str, tokenizers: Mapping[str, TextTokenizer]) -> list[Rows]:
        """The opened sources of a split, checked against the models that will read them.

        Args:
            split: `train`, `validation`, `test` or `predict`.
            tokenizers: `student` and `teacher`, as far as they are known.
        """
        if split not in self._opened:
            sources = self._sources(split)
            if self.holdout and (split == "train" or (split in EVALUATION and not sources)):
                opened = self._held(split)
            elif split in EVALUATION:
                opened = [rows for one in sources for rows in open_held_out(one, self.bad_rows)]
            else:
                needed = (ANCHOR,) if split == "predict" else (ANCHOR, POSITIVE)
                opened = [open_source(one, needed, self.bad_rows, False, split == "train") for one in sources]
            self._opened[split] = [_checked(rows, split, tokenizers) for rows in opened]
        return self._opened[split]

    def _sources(self, split: str) -> list[Source]:
        return as_sources(list(self.sources_of(split)), split)  # a subclass's may share a title

    def _held(self, split: str) -> list[Rows]:
        """The training rows without those that are held out, or those that are held out for a split."""
        sources = self._sources("train")
        if self._parts is None:
            parts = [one for one in EVALUATION if not self.sources_of(one)]
            opened = [open_source(source, bad_rows=self.bad_rows, texts_alone=True) for source in sources]
            self._parts = opened, split_rows(opened, self.holdout, parts)
        opened, numbers = self._parts
        if split != "train":
            again = BadRows(self.bad_rows.on_bad_row, self.bad_rows.max_share)  # these rows are listed already
            opened = [
                open_source(one, bad_rows=again, pairs_only=one.task == "retrieval", texts_alone=True)
                for one in sources
            ]
        kept = [restricted(rows, own[split]) for rows, own in zip(opened, numbers, strict=True)]
        return [rows for rows in kept if len(rows)]


def _checked(rows: Rows, split: str, tokenizers: Mapping[str, TextTokenizer]) -> Rows:
    """The rows, in chunks where the source asks for them; raises `UserError` for settings that no model has."""
    source, student = rows.source, tokenizers.get("student")
    if student is None:
        return rows
    known = {"query", "document"}.union(*(tokenizer.prompts for tokenizer in tokenizers.values()))
    unknown = sorted(set((source.prompts or {}).values()) - known)
    if unknown:
        raise UserError(
            f"source '{source.title}': prompts: no model has a prompt named {', '.join(unknown)}; "
            f"known are {', '.join(sorted(known))}"
        )
    if (source.max_length or 0) > student.max_length:
        raise UserError(
            f"source '{source.title}': max_length {source.max_length} is more than the student's {student.max_length}; "
            "raise the student's max_length"
        )
    return chunked(rows, student) if source.long_texts == "chunk" and split == "train" else rows
