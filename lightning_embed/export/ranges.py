"""quantization.json: the int8 range of each dim of an exported model's documents, at each size that they may be cut to.

    {"format": 1, "rule": "...", "dim": 384, "texts": 1000, "ranges": {"384": {"min": [...], "max": [...]}, "192": ...}}

`dim` is the size of the model's vectors, `texts` how many documents the ranges were taken from.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from lightning_embed.encoders.text_encoder import TextEncoder
from lightning_embed.errors import UserError, first_line
from lightning_embed.heads.quantize import int8_ranges, truncate

FILE = "quantization.json"
TEXTS = 1000
"""The most documents that ranges are taken from."""
FORMAT = 1
RULE = "truncate, L2-normalise, then code = floor((x - min) / step) clipped to 0..255, step = (max - min) / 255; int8 is code - 128"


@dataclass(frozen=True)
class Ranges:
    """What a folder says of its vectors."""

    dim: int
    """D, the size of the model's vectors."""
    of: dict[int, tuple[Tensor, Tensor]]
    """Size k -> (k,) least values and (k,) steps of the vectors cut to it."""


def write_ranges(encoder: TextEncoder, folder: Path, texts: Sequence[str], sizes: Collection[int] = ()) -> str:
    """Writes an encoder's int8 ranges into its exported folder; returns a sentence about them.

    Args:
        encoder: What embeds documents, as it is exported.
        folder: The exported folder.
        texts: n documents, n ≥ 2; equal ones count once.
        sizes: Sizes that get ranges, beside D and its halves down to 32.

    Raises:
        UserError: There are fewer than two texts, or a vector is not finite.
    """
    from lightning_embed.evaluation.metrics.grid import halved_dims

    texts = list(dict.fromkeys(texts))
    if len(texts) < 2:
        raise UserError(f"ranges need two documents or more, and there are {len(texts)}")
    home = encoder.device
    try:
        vectors = encoder.to("cuda" if torch.cuda.is_available() else home).encode(texts, "document")
    finally:
        encoder.to(home)
    if not vectors.isfinite().all():
        raise UserError("a document's vector holds NaN or infinity")
    dims = sorted({*halved_dims(encoder.dim), *(size for size in sizes if size < encoder.dim)}, reverse=True)
    ranges = {str(dim): _range(truncate(vectors, dim)) for dim in dims}
    content = {"format": FORMAT, "rule": RULE, "dim": encoder.dim, "texts": len(texts), "ranges": ranges}
    (folder / FILE).write_text(json.dumps(content, separators=(",", ":"), allow_nan=False) + "\n", encoding="utf-8")
    return (
        f"`{FILE}` has the int8 range of each dim, at {', '.join(map(str, dims))} dims, from {len(texts):,} documents: "
        "`lightning_embed.quantize` reads it."
    )


def _range(vectors: Tensor) -> dict[str, list[float]]:
    low, high = vectors.aminmax(dim=0)
    return {"min": _short(low), "max": _short(high)}


def _short(values: Tensor) -> list[float]:
    """Numbers of 6 significant digits."""
    return [float(f"{value:.6g}") for value in values.tolist()]


def read_ranges(folder: str | Path) -> Ranges:
    """The ranges of an exported folder.

    Args:
        folder: A model's folder with quantization.json.

    Raises:
        UserError: There are none, or they cannot be read.
    """
    file = Path(folder).expanduser() / FILE
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        of = {int(size): _read_one(int(size), one) for size, one in content["ranges"].items()}
        return Ranges(int(content["dim"]), of)
    except FileNotFoundError:
        raise UserError(
            f"{file}: does not exist; `export` and `fit` write it where they can read the run's data or `export` is given --texts"
        ) from None
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror})") from None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{file}: not as `export` writes it ({first_line(error)})") from None


def _read_one(size: int, one: dict[str, list[float]]) -> tuple[Tensor, Tensor]:
    ends = torch.tensor([one["min"], one["max"]], dtype=torch.float32)
    if ends.shape != (2, size):
        raise ValueError(f"{size} dims have {ends.shape[1]} ranges")
    return int8_ranges(ends)
