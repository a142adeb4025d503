"""The bar that a trained student has to clear: a linear map from any model's vectors to an old index's."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np

from lightning_embed.datamodules.sources.beir import joined
from lightning_embed.datamodules.sources.files import broken_file, json_lines, open_text
from lightning_embed.datamodules.teacher_store.store import TeacherStore, content_keys
from lightning_embed.errors import UserError, first_line
from lightning_embed.evaluation.models import EvaluatedModel, Mapped
from lightning_embed.evaluation.stored import lookup
from lightning_embed.evaluation.tasks.embedding_cache import EmbeddingCache
from lightning_embed.utils.activity import activity
from lightning_embed.utils.atomic import whole_file

STRENGTHS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
"""The ridge strengths that are tried."""
LEAST, MOST = 50, 10_000
"""Texts that a map is fitted on; of more, so many are drawn."""
HELD_OUT = 0.2
"""Their share on which the maps are compared."""
TOP = 10
FORMAT = 1
"""Raise it whenever the same texts give another map."""


@dataclass(frozen=True)
class LinearMap:
    """x -> Wx + b, brought to length 1."""

    weight: np.ndarray
    """(E, D)."""
    bias: np.ndarray
    """(E,)."""
    name: str

    def __call__(self, vectors: np.ndarray) -> np.ndarray:
        """(n, E) unit vectors of (n, D) ones."""
        return _unit(_unit(vectors) @ self.weight.T + self.bias)


def ridge(x: np.ndarray, y: np.ndarray, strength: float) -> LinearMap:
    """The map that minimises Σ |Wx + b - y|² + strength · |W|².

    Args:
        x: (n, D) unit vectors.
        y: (n, E) unit vectors.
        strength: Of the penalty, above 0.
    """
    from sklearn.linear_model import Ridge

    fitted = Ridge(alpha=strength).fit(x, y)
    return LinearMap(
        fitted.coef_.astype(np.float32), fitted.intercept_.astype(np.float32), f"ridge, strength {strength:g}"
    )


def procrustes(x: np.ndarray, y: np.ndarray) -> LinearMap:
    """The orthogonal map that minimises Σ |Wx - y|², the shorter vectors filled up with zeros.

    Args:
        x: (n, D) unit vectors.
        y: (n, E) unit vectors.
    """
    from scipy.linalg import orthogonal_procrustes

    size = max(x.shape[1], y.shape[1])
    padded = (np.pad(one, ((0, 0), (0, size - one.shape[1]))) for one in (x, y))
    rotation, _ = orthogonal_procrustes(*padded)
    weight = rotation[: x.shape[1], : y.shape[1]].T.astype(np.float32)
    return LinearMap(weight, np.zeros(y.shape[1], np.float32), "orthogonal Procrustes")


def kept(mapped: np.ndarray, own: np.ndarray, index: np.ndarray) -> float:
    """How many of the `TOP` vectors of an index that are nearest to a text's own one are among those nearest to its mapped one: the mean.

    Args:
        mapped: (n, E) mapped unit vectors of texts.
        own: (n, E) their own.
        index: (m, E) others, m at least `TOP`.
    """
    best = [np.argpartition(-(vectors @ index.T), TOP - 1, axis=1)[:, :TOP] for vectors in (own, mapped)]
    return float(np.mean([len(np.intersect1d(*pair)) for pair in zip(*best, strict=True)]))


def fit_map(x: np.ndarray, y: np.ndarray) -> tuple[LinearMap, str]:
    """The map that keeps the most neighbours on held-out texts, fitted on all of them then; and what it was chosen by.

    Args:
        x: (n, D) unit vectors of texts, n at least `LEAST`.
        y: (n, E) the vectors to map them to.
    """
    order = np.random.default_rng(0).permutation(len(x))
    held, rest = np.split(order, [round(HELD_OUT * len(x))])
    fits = [lambda x, y, strength=strength: ridge(x, y, strength) for strength in STRENGTHS] + [procrustes]
    scores = []
    for fit in fits:
        mapped = fit(x[rest], y[rest])(x[held])
        scores.append((kept(mapped, y[held], y[rest]), float((mapped * y[held]).sum(axis=1).mean())))
    best = max(range(len(fits)), key=lambda place: scores[place])
    found = fits[best](x, y)
    others = f"best of {len(STRENGTHS)} ridges and orthogonal Procrustes"
    return found, (
        f"{found.name} ({others} on {len(held):,} held-out texts: {scores[best][0]:.1f} of {TOP} nearest documents kept, mean cosine "
        f"{scores[best][1]:.3f})"
    )


def read_map_texts(file: Path) -> list[str]:
    """The texts of a file, each once and none blank: `*.txt`, one a line, or JSON lines of `text` and perhaps `title`.

    Args:
        file: Which.

    Raises:
        UserError: It is missing, or a line has another form.
    """
    if not file.is_file():
        raise UserError(f"map_texts: no file {file} (looked from {Path.cwd()})")
    try:
        if file.suffix == ".txt":
            with open_text(str(file)) as lines:
                texts = [line.strip() for line in lines]
        else:
            texts = [_text(file, number, row) for number, row in json_lines(str(file))]
    except broken_file() as error:
        raise UserError(f"{file}: it could not be read ({first_line(error)})") from None
    return [text for text in dict.fromkeys(texts) if text]


def _text(file: Path, number: int, row: object) -> str:
    if not (isinstance(row, dict) and isinstance(row.get("text"), str)):
        raise UserError(f'{file}, line {number}: expected {{"text": "..."}}')
    return joined(row)


def load_mapped(
    model: EvaluatedModel,
    store: TeacherStore,
    title: str,
    file: Path,
    queries: Collection[str] = (),
    prompt: str = "",
    cache: Path | None = None,
) -> tuple[EvaluatedModel, int]:
    """A model whose vectors are mapped into the space of given ones, and how many texts had to be embedded to fit the map.

    Args:
        model: Whose vectors are mapped.
        store: The given vectors.
        title: How tables call the mapped model.
        file: The texts that the map is fitted on, as documents; those without a given vector are left out.
        queries: Texts that it must not be fitted on.
        prompt: What preceded documents when the given vectors were made.
        cache: Where embeddings are kept; None: nowhere.

    Raises:
        UserError: There are too few texts.
    """
    asked = {query.strip() for query in queries}
    read = read_map_texts(file)
    texts = [text for text in read if text not in asked]
    places = np.flatnonzero(store.has(content_keys(texts, prompt))) if texts else np.empty(0, int)
    if len(places) < LEAST:
        raise UserError(
            f"model '{title}': a map is fitted on {LEAST} texts or more; of the {len(read):,} in {file}, {len(places):,} have a stored "
            "vector and are no query of a task"
        )
    if len(places) > MOST:
        places = np.sort(np.random.default_rng(0).choice(places, MOST, replace=False))
    texts = [texts[place] for place in places]
    y = _unit(lookup(store, texts, prompt)[0])
    prompt_of_model = model.prompts.get("document")
    # an evaluation of the model looks there too
    embeddings = EmbeddingCache(cache / "embeddings" / model.fingerprint if cache else None)
    with activity(f"fitting a linear map on {len(texts):,} texts of {file}"):
        x = embeddings.vectors(
            texts,
            f"document\0{prompt_of_model or ''}",
            lambda some: model.embed(some, "document", prompt_of_model),
            lambda count: None,
        )
        fitted, chosen_by = fit_map(_unit(x), y)
    key = blake2b(
        f"{FORMAT} {model.fingerprint} ".encode() + y.tobytes() + "\0".join(texts).encode("utf-8", "replace"),
        digest_size=12,
    )
    counts = (model.parameters, fitted.weight.size + fitted.bias.size)
    made = EvaluatedModel(
        title,
        store.dim,
        lambda texts, role, prompt: fitted(model.embed(texts, role, prompt)),
        key.hexdigest(),
        model.prompts,
        parameters=None if counts[0] is None else counts[0] + counts[1],
        size_bytes=None if model.size_bytes is None else model.size_bytes + 4 * counts[1],
        mapped=Mapped(model, fitted),
        about=f"a linear map of {model.name}, fitted on {len(texts):,} of {len(read):,} texts of {file}: {chosen_by}",
    )
    return made, embeddings.encoded


def write_maps(models: Iterable[EvaluatedModel], folder: Path) -> list[Path]:
    """Writes W and b of each mapped model as NAME.safetensors, in the form that `projection.weights` takes; returns the files.

    Args:
        models: Any; those that pairs are made of are looked at too.
        folder: Where to.
    """
    from safetensors.numpy import save_file

    files: list[Path] = []
    for model in models:
        if model.mapped is not None and isinstance(model.mapped.apply, LinearMap):
            found = model.mapped.apply
            file = folder / f"{re.sub(r'[^A-Za-z0-9._-]+', '-', model.name)}.safetensors"
            with whole_file(file) as partial:
                save_file({"weight": np.ascontiguousarray(found.weight), "bias": found.bias}, partial)
            files.append(file)
        files += write_maps(model.inner, folder)
    return list(dict.fromkeys(files))


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
