"""Truncated and quantised vectors, brought into a form whose dot product is their score.

The order is always: truncate to k dims, then L2-normalise, then quantise, as `heads.quantize` defines it; the int8 range of each dim is
that of the documents.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from lightning_embed.errors import UserError
from lightning_embed.evaluation.metrics.ranking import Similarity, dot_product
from lightning_embed.heads.quantize import int8_codes, int8_ranges, int8_values, signs

Precision = Literal["float32", "int8", "binary", "binary_rescore"]
"""How documents are stored and searched:

float32: as they are. int8: documents as int8 codes, queries as they are. binary: documents and queries as bits, by Hamming
distance. binary_rescore: documents as bits; the candidates found by Hamming distance are rescored with the unquantised query.
"""

PRECISIONS: tuple[Precision, ...] = get_args(Precision)


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


def quantize(queries: Tensor, documents: Tensor, precision: Precision) -> tuple[Tensor, Tensor]:
    """Queries (Q, D) and documents (M, D) with all that quantisation loses gone, in float32, to be scored by `similarity_of`.

    int8 documents are restored from their codes.

    Args:
        queries: (Q, D) normalised vectors.
        documents: (M, D) normalised vectors; int8 is calibrated on them.
        precision: See `Precision`.
    """
    if precision == "float32":
        return queries, documents
    if precision == "int8":
        low, step = int8_ranges(documents)
        return queries, int8_values(int8_codes(documents, low, step), low, step)
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
