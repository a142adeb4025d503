"""How near a cut model's vectors stay to those of the whole model."""

from typing import NamedTuple

import torch
from torch import Tensor

NEAREST = 10


class Closeness(NamedTuple):
    """A cut model beside the whole one, on the same texts."""

    cosine: float
    """Mean cosine of a text's two vectors."""
    nearest: float
    """Of the 10 texts nearest to each text by the whole model, the share that are so by the cut one too, 0 to 1."""


def closeness(vectors: Tensor, whole: Tensor) -> Closeness:
    """Compares two models' vectors of the same texts.

    Args:
        vectors: (n, D) unit vectors of the cut model.
        whole: (n, D) unit vectors of the whole one.
    """
    return Closeness(mean_cosine(vectors, whole), shared_nearest(vectors, whole))


def mean_cosine(vectors: Tensor, whole: Tensor) -> float:
    """Mean over texts of φ(z, z').

    Args:
        vectors: (n, D) unit vectors.
        whole: (n, D) unit vectors.
    """
    return float((vectors * whole).sum(dim=1).mean())


def shared_nearest(vectors: Tensor, whole: Tensor, k: int = NEAREST) -> float:
    """The share of each text's k nearest other texts, by the second model, that are among its k nearest by the first.

    Args:
        vectors: (n, D) unit vectors.
        whole: (n, D') unit vectors.
        k: How many; n - 1, if there are no more.
    """
    n = len(vectors)
    k = min(k, n - 1)
    if k < 1:
        return 1.0
    found = torch.zeros(2, n, n, dtype=torch.bool)
    for mine, z in zip(found, (vectors, whole), strict=True):
        similar = (z @ z.T).fill_diagonal_(-torch.inf)
        mine.scatter_(1, similar.topk(k, dim=1).indices, True)
    return float(found.all(dim=0).sum()) / (n * k)
