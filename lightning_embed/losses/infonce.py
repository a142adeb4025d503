"""InfoNCE: each anchor finds its own document among all documents of all ranks."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from lightning_embed.batch import ANCHOR, NEGATIVE, POSITIVE, EmbeddingBatch
from lightning_embed.distributed.collectives import global_mean
from lightning_embed.errors import UserError
from lightning_embed.heads.pooling import EPS, normalize
from lightning_embed.losses.base import EmbeddingLoss, check_positive, in_float32
from lightning_embed.losses.masks import Contrast, FalseNegatives, same_document, same_label, same_text, too_similar
from lightning_embed.losses.slices import row_slices
from lightning_embed.utils.numbers import check_number


class _SlicedCrossEntropy(torch.autograd.Function):
    """Σ_i [ln Σ_j exp(s φ(a_i, d_j)) − s φ(a_i, d_{t_i})], its gradient taken in the forward pass, slice by slice of anchors.

    So the (B, M) matrix is never whole in memory, and nothing is computed twice: each slice costs the three matrix products that the
    plain formula costs. ∂/∂s needs none: it is Σ_i â_i·(∂L/∂â_i)/s, with â_i the unit vector.
    """

    @staticmethod
    def forward(
        ctx: Any, anchors: Tensor, documents: Tensor, targets: Tensor, scale: Tensor, ignore: FalseNegatives | None
    ) -> Tensor:
        wanted = any(ctx.needs_input_grad)
        anchor, document = normalize(anchors), normalize(documents)
        grad_anchor = torch.empty_like(anchor) if wanted else anchor
        grad_document = torch.zeros_like(document) if wanted else document
        total = anchor.new_zeros(())
        for rows in row_slices(len(anchor), len(document)):
            a, target = anchor[rows] * scale, targets[rows, None]
            logits = a @ document.T
            masked = ignore.mask(rows) if ignore is not None else False
            if isinstance(masked, Tensor):
                logits.masked_fill_(masked.scatter_(1, target, False), -torch.inf)
            lse = logits.logsumexp(dim=1, keepdim=True)
            total += (lse - logits.gather(1, target)).sum()
            if wanted:
                slope = logits.sub_(lse).exp_()
                slope.scatter_add_(1, target, torch.full_like(lse, -1.0))
                torch.mm(slope, document, out=grad_anchor[rows])
                grad_document.addmm_(slope.T, a)
        if wanted:
            grad_anchor *= scale
            grad_scale = torch.dot(grad_anchor.flatten(), anchor.flatten()) / scale
            _through_normalize_(grad_anchor, anchor, anchors)
            _through_normalize_(grad_document, document, documents)
            ctx.save_for_backward(grad_anchor, grad_document, grad_scale)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, Tensor, None]:
        anchor, document, scale = (grad * grads[0] for grad in ctx.saved_tensors)
        return anchor, document, None, scale, None


def _through_normalize_(grad: Tensor, unit: Tensor, vectors: Tensor) -> None:
    """Turns ∂L/∂u into ∂L/∂x = (∂L/∂u − u (u·∂L/∂u))/‖x‖ in place, where u = x/‖x‖; a zero vector gets a zero gradient."""
    length = vectors.norm(dim=-1, keepdim=True)
    along = torch.einsum("nd,nd->n", grad, unit)[:, None]
    grad.addcmul_(unit, along, value=-1).mul_((length > EPS) / length.clamp(min=EPS))


@in_float32
def info_nce(
    anchor: Tensor,
    documents: Tensor,
    targets: Tensor | None = None,
    temperature: float | Tensor = 0.02,
    ignore: FalseNegatives | None = None,
) -> Tensor:
    """−1/B Σ_i ln[ exp(φ(x_i, y_{t_i})/τ) / Σ_j exp(φ(x_i, y_j)/τ) ], over anchors i and documents j.

    Args:
        anchor: (B, D) vectors of any length.
        documents: (M, D) vectors of any length: the positives and every negative.
        targets: (B,) each anchor's own document; None: document i is anchor i's.
        temperature: τ > 0, a number or a scalar tensor.
        ignore: Documents left out of the negatives; an anchor's own document is never left out.

    Returns:
        Scalar ≥ 0; an anchor that has no negative adds 0 to it.
    """
    if targets is None:
        targets = torch.arange(len(anchor), device=anchor.device)
    scale = 1 / torch.as_tensor(temperature, dtype=anchor.dtype, device=anchor.device)
    return _SlicedCrossEntropy.apply(anchor, documents, targets, scale, ignore) / max(1, len(anchor))


class InfoNCE(EmbeddingLoss):
    """Contrasts each anchor's positive with every other document of the global batch and with the mined negatives.

        L^{q→d} = −(1/B) Σ_i ln[ S(x_i,y_i) / (S(x_i,y_i) + Σ_{n ∈ N_i} S(x_i,n)) ],    S(a,b) = exp(φ(a,b)/τ)

    Equation 2 of *jina-embeddings-v5-text* (arXiv 2602.15547). N_i: the documents of all ranks without those that are known to fit
    the anchor: of its text or its positive's, the positive of an equal anchor, of its label, of its positive's document, or too like
    it in the teacher's eyes.

    Args:
        temperature: τ > 0; where it is learnable, the value it starts from.
        learnable_temperature: Whether τ trains (as ln τ).
        min_temperature: The least that a learnable τ may become.
        symmetric: Adds the other direction d→q: each positive finds its anchor among all anchors.
        gather: Whether other ranks' documents are negatives too; if not, the loss depends on how rows are spread over ranks.
        mask_same_text: Whether documents whose text is one of the anchor's positives are left out of the negatives.
        mask_same_label: Whether documents of the anchor's label are left out of the negatives (where the batch has labels).
        mask_same_document: Whether other texts of the positive's document are left out of the negatives (where the batch has document ids).
        teacher_margin: A document whose teacher cosine with the anchor exceeds the positive's minus this is left out of the negatives.
        teacher_max: A document whose teacher cosine with the anchor exceeds this is left out of the negatives.
    """

    pulls_pairs, must_differ = True, frozenset({ANCHOR, POSITIVE})

    def __init__(
        self,
        temperature: float = 0.02,
        learnable_temperature: bool = False,
        min_temperature: float = 0.005,
        symmetric: bool = False,
        gather: bool = True,
        mask_same_text: bool = True,
        mask_same_label: bool = True,
        mask_same_document: bool = True,
        teacher_margin: float | None = None,
        teacher_max: float | None = None,
    ) -> None:
        super().__init__()
        check_positive(min_temperature=min_temperature, temperature=temperature)
        check_number("teacher_margin", teacher_margin, least=-2, most=2, optional=True)
        check_number("teacher_max", teacher_max, least=-1, most=1, optional=True)
        if min_temperature > temperature:
            raise UserError(
                f"InfoNCE needs 0 < min_temperature <= temperature, got {min_temperature} and {temperature}"
            )
        # one entry, not a scalar: FSDP shards no scalars
        self.log_temperature = nn.Parameter(
            torch.full((1,), math.log(temperature)), requires_grad=learnable_temperature
        )
        self.fixed_temperature = None if learnable_temperature else temperature
        self.min_temperature, self.symmetric, self.shared = min_temperature, symmetric, gather
        rules = {same_text: mask_same_text, same_label: mask_same_label, same_document: mask_same_document}
        self.rules = [rule for rule, wanted in rules.items() if wanted]
        self.teacher_margin, self.teacher_max = teacher_margin, teacher_max
        self.guided = teacher_margin is not None or teacher_max is not None
        self.requires = frozenset({ANCHOR, POSITIVE} | ({"teacher"} if self.guided else set()))
        self.uses = frozenset({NEGATIVE})

    @property
    def temperature(self) -> Tensor:
        """τ, a scalar tensor."""
        if self.fixed_temperature is not None:  # a setting, not what a checkpoint holds
            return torch.tensor(self.fixed_temperature, device=self.log_temperature.device)
        return self.log_temperature.float().exp().squeeze()

    def on_step_end(self, module: Any, step: int) -> None:
        """Holds a learnable τ at or above its floor."""
        with torch.no_grad():
            self.log_temperature.clamp_(min=math.log(self.min_temperature))

    def forward(self, batch: EmbeddingBatch) -> Tensor:
        """q→d, plus d→q if symmetric."""
        pool = (POSITIVE, NEGATIVE) if batch.has(NEGATIVE) else (POSITIVE,)
        loss = self._one_way(Contrast(batch, ANCHOR, pool, self.shared))
        return loss + self._one_way(Contrast(batch, POSITIVE, (ANCHOR,), self.shared)) if self.symmetric else loss

    def _one_way(self, contrast: Contrast) -> Tensor:
        queries, documents = contrast.queries("student"), contrast.documents("student")
        same = [ids for rule in self.rules for ids in rule(contrast)]
        teacher = too_similar(contrast, self.teacher_margin, self.teacher_max) if self.guided else None
        mean = info_nce(queries, documents, contrast.targets, self.temperature, FalseNegatives(same, teacher))
        return global_mean(mean * len(queries), len(queries))
