"""AnglE: CoSENT over the angle between vectors that are read as complex ones."""

import torch.nn.functional as F
from torch import Tensor

from lightning_embed.losses.base import in_float32, unit
from lightning_embed.losses.cosent import CoSENT


@in_float32
def angle_similarity(anchor: Tensor, positive: Tensor) -> Tensor:
    """|Re + Im| of Σ_d z_d w̄_d, where the first half of each unit vector holds the real parts and the second the imaginary ones.

    The real part is the cosine, which is flat where vectors are much alike; the imaginary part is not.

    Args:
        anchor: (B, D) vectors z; an odd D is padded with a zero.
        positive: (B, D) vectors w.

    Returns:
        (B,) similarities in [0, √2].
    """
    pad = (0, anchor.shape[-1] % 2)
    z_re, z_im = F.pad(unit(anchor), pad).chunk(2, dim=-1)
    w_re, w_im = F.pad(unit(positive), pad).chunk(2, dim=-1)
    real = (z_re * w_re + z_im * w_im).sum(dim=-1)
    imaginary = (z_im * w_re - z_re * w_im).sum(dim=-1)
    return (real + imaginary).abs()


class AnglE(CoSENT):
    """Orders pairs by their given scores, as CoSENT does, with a similarity whose gradient does not vanish near cosine ±1.

        L = ln(1 + Σ_{s_i > s_j} exp((a_j − a_i)/τ)),    a = |Re Σ_d z_d w̄_d + Im Σ_d z_d w̄_d|

    Li and Li 2023, *AnglE-optimized Text Embeddings* (arXiv 2309.12871), the angle
    objective alone: theirs adds CoSENT and InfoNCE.

    Args:
        temperature: τ > 0.
    """

    def similarity(self, anchor: Tensor, positive: Tensor) -> Tensor:
        """(B,) angle similarity of each pair."""
        return angle_similarity(anchor, positive)
