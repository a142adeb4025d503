"""Models as a command names them, pairs among them: `A+B` embeds queries by A and documents by B."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path

import numpy as np

from lightning_embed.errors import UserError
from lightning_embed.evaluation.models import EvaluatedModel, split_name


def read_names(specs: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Name -> its model, or its models for queries and for documents, in the order given.

    Args:
        specs: `[NAME=]MODEL` or `[NAME=]A+B`, A and B models or names of others in the list.

    Raises:
        UserError: Two models have one name, or half of a pair is missing.
    """
    singles = {split_name(spec)[0]: split_name(spec)[1] for spec in specs if not _halves(spec, ())}
    found: dict[str, tuple[str, ...]] = {}
    for spec in specs:
        name, model = split_name(spec)
        halves = _halves(spec, singles)
        if halves:
            models = tuple(singles.get(half, half) for half in halves)
            titles = "+".join(half if half in singles else split_name(half)[0] for half in halves)
            name = titles if model == spec else name
        if name in found:
            raise UserError(f"models: two are called '{name}'; name one of them: OTHER=MODEL")
        found[name] = models if halves else (model,)
    return found


def _halves(spec: str, names: Collection[str]) -> tuple[str, str] | None:
    """The two models of a pair; None for one model, whose path may hold a + too."""
    model = split_name(spec)[1]
    if "+" not in model or Path(model).expanduser().exists():
        return None
    cuts = [(model[:at], model[at + 1 :]) for at, sign in enumerate(model) if sign == "+"]
    whole = [halves for halves in cuts if all(_is_one(half, names) for half in halves)]
    if not whole:
        raise UserError(f"models: expected A+B, a model for queries and one for documents, got '{model}'")
    return whole[0]


def _is_one(half: str, names: Collection[str]) -> bool:
    return bool(half) and (half in names or "+" not in half or Path(half).expanduser().exists())


def load_models(specs: Sequence[str], load: Callable[[str], EvaluatedModel]) -> list[EvaluatedModel]:
    """Loads the models of a command, each once.

    Args:
        specs: As `read_names` takes them.
        load: Loads one model.

    Raises:
        UserError: As `read_names` and `paired` raise it.
    """
    named, known = read_names(specs), dict[str, EvaluatedModel]()
    for name, models in named.items():
        if len(models) == 1 and models[0] not in known:
            known[models[0]] = replace(load(models[0]), name=name)
    for model in (model for models in named.values() for model in models):
        if model not in known:
            known[model] = load(model)
    return [
        paired(known[models[0]], known[models[1]], name) if models[1:] else replace(known[models[0]], name=name)
        for name, models in named.items()
    ]


def paired(queries: EvaluatedModel, documents: EvaluatedModel, name: str) -> EvaluatedModel:
    """Two models as one: queries by the one, documents by the other, each with its own prompts.

    Args:
        queries: Embeds queries.
        documents: Embeds documents.
        name: How tables call the pair.

    Raises:
        UserError: Their vectors cannot be compared.
    """
    if queries.dim != documents.dim:
        raise UserError(
            f"model '{name}': '{queries.name}' gives vectors of {queries.dim} dims and '{documents.name}' of {documents.dim}, which cannot "
            "be compared; `export --space teacher` brings a student into its teacher's space"
        )
    if queries.similarity != documents.similarity:
        raise UserError(
            f"model '{name}': '{queries.name}' compares vectors by {queries.similarity} and '{documents.name}' by {documents.similarity}"
        )

    def embed(texts: list[str], role: str, prompt: str | None) -> np.ndarray:
        return (documents if role == "document" else queries).embed(texts, role, prompt)

    both = f"{queries.fingerprint} {documents.fingerprint}"
    counts = (queries.parameters, documents.parameters)
    sizes = (queries.size_bytes, documents.size_bytes)
    return EvaluatedModel(
        name,
        queries.dim,
        embed,
        blake2b(both.encode(), digest_size=12).hexdigest(),
        similarity=queries.similarity,
        normalized=queries.normalized and documents.normalized,
        parameters=None if None in counts else sum(count or 0 for count in counts),
        size_bytes=None if None in sizes else sum(size or 0 for size in sizes),
        halves=(queries, documents),
    )
