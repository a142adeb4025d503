"""Vectors as they are stored: bytes or packed bits, by the ranges of the model's folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import torch

from lightning_embed.errors import UserError, first_line
from lightning_embed.export.ranges import FILE, read_ranges
from lightning_embed.heads.quantize import int8_codes, truncate

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

Stored = Literal["int8", "uint8", "binary", "ubinary"]
STORED: tuple[Stored, ...] = get_args(Stored)


def quantize(vectors: ArrayLike, folder: str | Path, precision: Stored, dim: int | None = None) -> NDArray[Any]:
    """Truncates, normalises and quantises a model's vectors; the codes are those of sentence-transformers' `quantize_embeddings`.

        uint8    floor((x − min_d) / step_d), clipped to 0 … 255, with the ranges of the folder's quantization.json; int8: that − 128
        ubinary  numpy.packbits(x > 0): eight dims a byte, the first in its highest bit; binary: that − 128, as int8

    Args:
        vectors: (n, D) vectors that the folder's model gave, of any length, or one of them (D,): an array or a tensor.
        folder: The exported model's folder.
        precision: `int8`, `uint8`, `binary` or `ubinary`.
        dim: k, entries kept of each vector: for bytes one of the sizes that the folder has ranges of, for bits 1 to D. None: D.

    Returns:
        (n, k) bytes or (n, ⌈k/8⌉) packed bits; of one vector (k,) or (⌈k/8⌉,).

    Raises:
        UserError: The precision is unknown, the folder has no ranges of that size, or the vectors are not of its model.
    """
    if precision not in STORED:
        raise UserError(f"precision: expected one of {', '.join(STORED)}, got {precision!r}")
    ranges, whole = read_ranges(folder), _as_tensor(vectors)
    if whole.shape[-1] != ranges.dim:
        raise UserError(
            f"vectors: expected {ranges.dim} entries, as the model in {folder} gives them, got {whole.shape[-1]}; give whole vectors "
            "and `dim`"
        )
    size = ranges.dim if dim is None else dim
    if not whole.isfinite().all():
        wrong = int((~whole.isfinite().all(dim=-1)).nonzero()[0, 0]) if whole.ndim == 2 else 0
        raise UserError(f"vectors: row {wrong} holds NaN or infinity")
    short = truncate(whole.reshape(-1, ranges.dim), size).reshape(*whole.shape[:-1], size)
    if precision in ("binary", "ubinary"):
        bits = np.packbits((short > 0).numpy(), axis=-1)
        return bits if precision == "ubinary" else (bits.astype(np.int16) - 128).astype(np.int8)
    if size not in ranges.of:
        have = ", ".join(map(str, sorted(ranges.of, reverse=True)))
        raise UserError(f"dim: {Path(folder) / FILE} has ranges of {have} dims, got {size}")
    codes = int8_codes(short, *ranges.of[size]).numpy()
    return codes if precision == "int8" else (codes.astype(np.int16) + 128).astype(np.uint8)


def _as_tensor(vectors: ArrayLike) -> torch.Tensor:
    """(n, D) or (D,) float32 on the CPU."""
    try:
        if isinstance(vectors, torch.Tensor):
            found = vectors.detach().cpu().float()
        else:
            found = torch.from_numpy(np.array(vectors, dtype=np.float32))
    except (TypeError, ValueError) as error:
        raise UserError(f"vectors: expected numbers, an array of (n, D) ({first_line(error)})") from None
    if found.ndim not in (1, 2):
        raise UserError(f"vectors: expected an array of (n, D) or (D,), got one of {found.ndim} dimensions")
    return found
