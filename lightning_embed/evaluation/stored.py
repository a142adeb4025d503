"""Vectors that somebody else's model gave, as a model of an evaluation: they are looked up in the teacher store."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b

import numpy as np

from lightning_embed.datamodules.teacher_store.lookup import store_folder
from lightning_embed.datamodules.teacher_store.store import TeacherStore, content_keys, stored_teachers
from lightning_embed.errors import UserError
from lightning_embed.evaluation.models import EvaluatedModel


class MissingVectors(UserError):
    """Texts whose vectors are looked up have none.

    Args:
        model: What the user calls the model.
        role: `query`, `document` or empty.
        missing: The texts, at least one.
        texts: How many texts were looked up, these among them.
        cure: What to do.
        task: The task's name, where it is known.
    """

    def __init__(self, model: str, role: str, missing: list[str], texts: int, cure: str, task: str = "") -> None:
        self.model, self.role, self.missing, self.texts, self.cure, self.task = model, role, missing, texts, cure, task
        text = " ".join(missing[0].split())
        shown = text if len(text) <= 60 else f"{text[:57]}..."
        of = f"task '{task}': " if task else ""
        super().__init__(
            f"model '{model}': {of}the {role or 'text'} {shown!r} has no stored vector ({len(missing):,} of {texts:,} have none); {cure}"
        )

    def in_task(self, task: str) -> MissingVectors:
        """The same, with the task named.

        Args:
            task: Its name.
        """
        return MissingVectors(self.model, self.role, self.missing, self.texts, self.cure, task)

    @property
    def all_queries(self) -> bool:
        """Whether the texts are queries of which not one has a vector: documents alone were imported."""
        return self.role == "query" and len(self.missing) == self.texts


def open_given(name: str, setting: str | None = None) -> TeacherStore:
    """The vectors that `cache --import` stored under a name.

    Args:
        name: The name.
        setting: Folder of all stored teachers; None: the user's cache folder.

    Raises:
        UserError: There are none, or they are of several sizes.
    """
    folder = store_folder(setting)
    given = [one for one in stored_teachers(folder).values() if "name" in one]
    found = [TeacherStore(folder, {"name": name, "dim": one["dim"]}) for one in given if one["name"] == name]
    found = [store for store in found if len(store)]
    if not found:
        there = ", ".join(f"{one['name']} (dim {one['dim']})" for one in given) or "none"
        raise UserError(
            f"stored:{name}: no vectors were imported under this name into {folder}; given are {there}; python -m lightning_embed cache "
            f"--import FILE --import_name {name}"
        )
    if len(found) > 1:
        sizes = " and ".join(str(store.dim) for store in found)
        raise UserError(
            f"stored:{name}: there are vectors of {sizes} dims; import those of one size under another name"
        )
    return found[0]


def lookup(store: TeacherStore, texts: list[str], prompt: str = "") -> tuple[np.ndarray, np.ndarray]:
    """(n, E) float32 vectors of texts, zeros where there is none, and (n,) whether there is one.

    A text is also found without the white space around it, and a blank one, which no API embeds, has the zero vector.

    Args:
        store: Where they are.
        texts: n texts.
        prompt: What preceded each when the vectors were made.
    """
    vectors, found = store.find(content_keys(texts, prompt))
    bare = [text.strip() for text in texts]
    again = np.flatnonzero(~found & np.array([a != b for a, b in zip(texts, bare, strict=True)], dtype=bool))
    if len(again):
        vectors[again], found[again] = store.find(content_keys([bare[place] for place in again], prompt))
    return vectors.astype(np.float32), found | np.array([not text for text in bare], dtype=bool)


def load_stored(
    name: str, title: str, setting: str | None = None, prompts: Mapping[str, str] | None = None
) -> EvaluatedModel:
    """Given vectors for evaluation.

    Args:
        name: What they were imported under.
        title: How tables call them.
        setting: Folder of all stored teachers; None: the user's cache folder.
        prompts: What preceded texts when the vectors were made, by role.

    Raises:
        UserError: There are none under this name, or they are of several sizes.
    """
    store = open_given(name, setting)
    cure = f"import it (python -m lightning_embed cache --import FILE --import_name {name}"
    cure += " --import_prompt PROMPT)" if prompts else "), or give --stored_prompts if it was imported with a prompt"

    def embed(texts: list[str], role: str, prompt: str | None) -> np.ndarray:
        vectors, found = lookup(store, texts, prompt or "")
        missing = list(dict.fromkeys(texts[place] for place in np.flatnonzero(~found)))
        if missing:
            raise MissingVectors(title, role, missing, len(set(texts)), cure)
        return vectors

    entries = np.sort(np.concatenate([shard.entries for shard in store.shards]))
    fingerprint = blake2b(f"{name} {store.dim} ".encode() + entries.tobytes(), digest_size=12).hexdigest()
    return EvaluatedModel(title, store.dim, embed, fingerprint, dict(prompts or {}), size_bytes=store.size, stored=True)
