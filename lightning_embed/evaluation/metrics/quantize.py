"""Truncated and quantised vectors, brought into a form whose dot product is their score.

The order is always: truncate to k dims, then L2-normalise, then quantise. The definitions of int8 and binary are those of
`sentence_transformers.quantization.quantize_embeddings`:

    int8     code = floor((x − min_d) / step_d) − 128,  step_d = (max_d − min_d) / 255,  range of each dim from the documents
    binary   bit = x > 0, one bit a dim
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn.functional import normalize

from lightning_embed.errors import UserError
from lightning_embed.evaluation.metrics.ranking import Similarity, dot_product

Precision = Literal["float32", "int8", "binary", "binary_rescore"]
"""How documents are stored and searched:

float32: as they are. int8: documents as int8 codes, queries as they are. binary: documents and queries as bits, by Hamming
distance. binary_rescore: documents as bits; the candidates found by Hamming distance are rescored with the unquantised query.
"""

PRECISIONS: tuple[Precision, ...] = get_args(Precision)


def truncate(vectors: Tensor, dim: int) -> Tensor:
    """The first entries of each vector, L2-normalised, in float32; a zero vector stays zero.

    Args:
        vectors: (n, D).
        dim: 1 to D.

    Raises:
        UserError: dim is out of range.
    """
    if not 1 <= dim <= vectors.shape[-1]:
        raise UserError(f"cannot truncate vectors of {vectors.shape[-1]} dims to {dim}: give 1 to {vectors.shape[-1]}")
    return normalize(vectors[:, :dim].float(), dim=-1)


def check_precision(precision: str) -> None:
    """Refuses an unknown precision.

    Raises:
        UserError: It is none of `PRECISIONS`.
    """
    if precision not in PRECISIONS:
        raise UserError(f"unknown precision {precision!r}: give one of {', '.join(PRECISIONS)}")


def bytes_per_vector(dim: int, precision: Precision) -> int:
    """What one stored document takes, in bytes.

    Args:
        dim: Entries a vector.
        precision: See `Precision`.
    """
    return {"float32": 4 * dim, "int8": dim}.get(precision, (dim + 7) // 8)


def int8_ranges(calibration: Tensor) -> tuple[Tensor, Tensor]:
    """The least value (D,) and the step (D,) of each dim.

    Args:
        calibration: (n, D) float32 vectors; a dim that is constant gets step 1.
    """
    low, high = calibration.amin(dim=0), calibration.amax(dim=0)
    step = (high - low) / 255
    return low, torch.where(step == 0, 1.0, step)


def int8_codes(vectors: Tensor, low: Tensor, step: Tensor) -> Tensor:
    """(n, D) int8 codes; values beyond the range are clipped to it.

    Args:
        vectors: (n, D) float32.
        low: (D,) least value of each dim.
        step: (D,) width of a code of each dim.
    """
    return (((vectors - low) / step).floor().clamp(0, 255) - 128).to(torch.int8)


def signs(vectors: Tensor) -> Tensor:
    """(n, D) the bits of each vector as ±1 / √D, so that a dot product of two is 1 − 2 · Hamming distance / D.

    Args:
        vectors: (n, D).
    """
    return torch.where(vectors > 0, 1.0, -1.0) / vectors.shape[-1] ** 0.5


def quantize(queries: Tensor, documents: Tensor, precision: Precision) -> tuple[Tensor, Tensor]:
    """Queries (Q, D) and documents (M, D) with all that quantisation loses gone, in float32, to be scored by `similarity_of`.

    int8 documents are restored from their codes: x ≈ min + step · (code + 128), as sentence-transformers rescores them.

    Args:
        queries: (Q, D) normalised vectors.
        documents: (M, D) normalised vectors; int8 is calibrated on them.
        precision: See `Precision`.
    """
    if precision == "float32":
        return queries, documents
    if precision == "int8":
        low, step = int8_ranges(documents)
        return queries, low + step * (int8_codes(documents, low, step).float() + 128)
    return (signs(queries) if precision == "binary" else queries), signs(documents)


def similarity_of(precision: Precision, depth: int = 10) -> Similarity:
    """How vectors that `quantize` made are scored.

    Args:
        precision: See `Precision`.
        depth: How many results a search returns; `binary_rescore` rescores the best 4 · depth documents by Hamming distance,
            with all that tie with the last of these, and puts the others last.
    """
    if precision != "binary_rescore":
        return dot_product

    def rescore(queries: Tensor, documents: Tensor) -> Tensor:
        hamming = signs(queries) @ documents.T  # (q, M)
        last = hamming.topk(min(4 * depth, len(documents)), dim=1).values[:, -1:]
        # Two neighbouring Hamming distances are 2 / D apart: half of that is far above float32's error.
        found = hamming > last - 1 / documents.shape[-1]
        return (queries @ documents.T).masked_fill_(~found, -torch.inf)

    return rescore
