"""A cross-encoder's scores of pairs, in the place of the cosines."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_embed.encoders.pretrained import locate, require_weights
from lightning_embed.errors import UserError, first_line
from lightning_embed.utils.hashing import config_hash, weights_hash

Rate = Callable[[Sequence[tuple[str, str]]], NDArray[np.float32]]
"""(anchor, document) texts -> (n,) scores."""


def model_fingerprint(model: str) -> str:
    """A hash of a model's weights and config.

    Args:
        model: A folder, `pip:NAME` or a Hugging Face id.
    """
    folder = locate(model)
    return weights_hash(folder) + config_hash(folder)


def load_cross_encoder(model: str, device: str) -> Rate:
    """A sentence-transformers cross-encoder as a function of pairs.

    Args:
        model: A folder, `pip:NAME` or a Hugging Face id, of a model with one score a pair.
        device: Where it runs.

    Raises:
        UserError: If there is no such model, or it gives more than one score, or one that is not finite.
    """
    from sentence_transformers import CrossEncoder

    folder = locate(model)
    require_weights(model, folder)
    try:
        encoder: Any = CrossEncoder(
            str(folder), device=device, trust_remote_code=False, model_kwargs={"use_safetensors": True}
        )
    except (OSError, ValueError, RuntimeError) as error:
        reason = first_line(error)
        raise UserError(f"cross_encoder '{model}': it could not be loaded ({reason})") from None
    if encoder.num_labels != 1:
        raise UserError(f"cross_encoder '{model}': expected a model with 1 score a pair, it gives {encoder.num_labels}")

    def rate(pairs: Sequence[tuple[str, str]]) -> NDArray[np.float32]:
        if not pairs:
            return np.zeros(0, dtype=np.float32)
        scores = encoder.predict(list(pairs), batch_size=32, show_progress_bar=False, convert_to_numpy=True)
        bad = np.flatnonzero(~np.isfinite(scores))
        if len(bad):
            raise UserError(f"cross_encoder '{model}': its score of {pairs[bad[0]][0][:60]!r} and a text is not finite")
        return np.asarray(scores, dtype=np.float32)

    return rate
