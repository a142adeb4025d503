"""The teacher's stored vectors of a batch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_embed.batch import ANCHOR, NEGATIVE, POSITIVE, ROLES, TextBatch
from lightning_embed.datamodules.teacher_store.store import TeacherStore, content_keys, default_folder, stored_teachers
from lightning_embed.errors import UserError

OFF = "off"
"""What `data.teacher_store` is where no stored vector is to be used."""
EVALUATED = frozenset((ANCHOR, POSITIVE))
"""Roles whose teacher vectors are used in evaluation; in training they are the losses'."""


class KnownTeacher(Protocol):
    """What the store must know of a teacher; none of it needs the weights."""

    dim: int

    @property
    def prompts(self) -> Mapping[str, str]:
        """Text before each text, by role of prompt."""

    @property
    def max_length(self) -> int | None:
        """Tokens after which it cuts; None: not known."""

    @property
    def required(self) -> bool:
        """Whether its vectors can come from the store alone."""

    def identity(self) -> dict[str, Any] | None:
        """Everything its vectors depend on besides the text; None: they cannot be stored."""


def store_folder(setting: str | Path | None) -> Path:
    """The folder of all stored teachers.

    Args:
        setting: `data.teacher_store`; None: the user's cache folder.
    """
    return Path(setting).expanduser() if setting else default_folder()


@dataclass(frozen=True)
class TeacherLookup:
    """Finds the stored vectors of a batch's texts."""

    store: TeacherStore
    """Where they are."""
    prompts: Mapping[str, str]
    """The teacher's prompts."""
    max_length: int | None
    """Where the teacher cuts."""
    roles: frozenset[str] = frozenset(ROLES)
    """Roles that are looked up."""
    required: bool = False
    """Whether a missing vector is an error."""

    def for_split(self, split: str) -> "TeacherLookup":
        """The same for the batches of one split: evaluation looks up the pairs, and a missing vector is not an error there.

        Args:
            split: `train`, `validation` or `test`.
        """
        return self if split == "train" else replace(self, roles=EVALUATED, required=False)

    def keys(self, texts: Sequence[str], prompt: str, max_length: int | None = None) -> NDArray[np.bytes_]:
        """(n,) the content keys of texts.

        Args:
            texts: n texts.
            prompt: Name of the prompt that precedes them.
            max_length: Tokens after which their source cuts them; None: the teacher's own.
        """
        longest = None if self.max_length is None else min(max_length or self.max_length, self.max_length)
        return content_keys(texts, self.prompts.get(prompt, ""), longest)

    def vectors(self, batch: TextBatch, role: str, prompt: str, max_length: int | None = None) -> Tensor | None:
        """(n, E) float32 vectors of a column; None where one is missing.

        Args:
            batch: The rows.
            role: Which column.
            prompt: Name of the prompt that it gets.
            max_length: Tokens after which its source cuts its texts; None: the teacher's own.

        Raises:
            UserError: If one is missing and nothing else can give it.
        """
        if role not in self.roles:
            return None
        found, whole = self.store.find(self.keys(batch.texts[role], prompt, max_length))
        if whole.all():
            return torch.from_numpy(found.astype(np.float32))
        if self.required:
            first = int(np.flatnonzero(~whole)[0])
            row = _row_of(batch, role, first)
            raise self.missing(batch.source, row, role, batch.texts[role][first])
        return None

    def missing(self, source: str, row: int, role: str, text: str) -> UserError:
        """The error for a text whose vector was never imported.

        Args:
            source: The source's name.
            row: Row number from 0.
            role: The text's column.
            text: Shown up to 60 characters.
        """
        name = self.store.identity.get("name", "")
        shown = text if len(text) <= 60 else f"{text[:57]}..."
        return UserError(
            f"source '{source}', row {row + 1}: the {role} {shown!r} has no vector among those given as '{name}' in "
            f"{self.store.path}; import it (python -m lightning_embed cache --import FILE --import_name {name})"
        )


def _row_of(batch: TextBatch, role: str, place: int) -> int:
    """The row of a text of a column; negatives belong to their anchor's row."""
    if role == NEGATIVE and batch.negative_counts is not None:
        place = int(np.searchsorted(np.cumsum(batch.negative_counts), place, side="right"))
    return batch.rows[place]


def open_lookup(teacher: Any, setting: str | None) -> TeacherLookup | None:
    """The stored vectors of a teacher; None where there are none or the teacher's cannot be stored.

    Args:
        teacher: A `KnownTeacher`; anything else has nothing stored.
        setting: `data.teacher_store`; `off`: no store.

    Raises:
        UserError: If the vectors can come from the store alone and it has none.
    """
    if not hasattr(teacher, "identity"):
        return None
    known: KnownTeacher = teacher
    if setting == OFF and not known.required:
        return None
    folder = store_folder(None if setting == OFF else setting)
    if not (folder.is_dir() and any(folder.iterdir())) and not known.required:
        return None  # without this, every first fit would read the teacher's weights for their hash
    identity = known.identity()
    if identity is None:
        return None
    store = TeacherStore(folder, identity)
    if known.required and not len(store):
        given = [f"{one['name']} (dim {one['dim']})" for one in stored_teachers(folder).values() if "name" in one]
        there = f"; given are {', '.join(given)}" if given else ""
        raise UserError(
            f"teacher '{identity['name']}': no vectors of dim {identity['dim']} were imported under this name into {folder}{there}; "
            f"python -m lightning_embed cache --import FILE --import_name {identity['name']}"
        )
    if not len(store) and not store.damaged:
        return None
    return TeacherLookup(store, known.prompts, known.max_length, required=known.required)
