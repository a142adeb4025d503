"""InfoNCE: each anchor finds its own document among all documents of all ranks."""

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from lightning_embed.batch import ANCHOR, NEGATIVE, POSITIVE, EmbeddingBatch
from lightning_embed.distributed import Gathered, global_mean
from lightning_embed.losses.base import EmbeddingLoss, in_float32, normalize
from lightning_embed.losses.masks import MISSING, FalseNegatives, teacher_limit

SLICE = 2**22  # logits held at once: 16 MB in float32


class _SlicedCrossEntropy(torch.autograd.Function):
    """Σ_i [ln Σ_j exp(s a_i·d_j) − s a_i·d_{t_i}], its gradient taken in the forward pass, slice by slice of anchors.

    So the (B, M) matrix is never whole in memory, and nothing is computed twice: each slice costs the three matrix products that the
    plain formula costs. ∂/∂s needs none: Σ_i a_i·(∂L/∂a_i)/s.
    """

    @staticmethod
    def forward(
        ctx: Any, anchor: Tensor, documents: Tensor, targets: Tensor, scale: Tensor, ignore: FalseNegatives | None
    ) -> Tensor:
        wanted = any(ctx.needs_input_grad)
        grad_anchor = torch.empty_like(anchor) if wanted else None
        grad_documents = torch.zeros_like(documents) if wanted else None
        total = anchor.new_zeros(())
        step = max(1, SLICE // max(1, len(documents)))
        for start in range(0, len(anchor), step):
            rows = slice(start, min(start + step, len(anchor)))
            a, target = anchor[rows] * scale, targets[rows, None]
            logits = a @ documents.T
            if ignore is not None:
                logits.masked_fill_(ignore.mask(rows).scatter_(1, target, False), -torch.inf)
            lse = logits.logsumexp(dim=1, keepdim=True)
            total += (lse - logits.gather(1, target)).sum()
            if grad_anchor is not None and grad_documents is not None:
                slope = logits.sub_(lse).exp_()
                slope.scatter_add_(1, target, torch.full_like(lse, -1.0))
                grad_anchor[rows] = (slope @ documents).mul_(scale)
                grad_documents.addmm_(slope.T, a)
        if grad_anchor is not None:
            ctx.save_for_backward(grad_anchor, grad_documents, (grad_anchor * anchor).sum() / scale)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, Tensor, None]:
        grad_anchor, grad_documents, grad_scale = ctx.saved_tensors
        return grad_anchor * grads[0], grad_documents * grads[0], None, grad_scale * grads[0], None


@in_float32
def info_nce(
    anchor: Tensor,
    documents: Tensor,
    targets: Tensor | None = None,
    temperature: float | Tensor = 0.02,
    ignore: FalseNegatives | None = None,
    reduction: Literal["mean", "sum"] = "mean",
) -> Tensor:
    """−ln[ exp(φ(x_i, y_{t_i})/τ) / Σ_j exp(φ(x_i, y_j)/τ) ], over anchors i and documents j.

    Args:
        anchor: (B, D) vectors of any length.
        documents: (M, D) vectors of any length: the positives and every negative.
        targets: (B,) each anchor's own document; None: document i is anchor i's.
        temperature: τ > 0, a number or a scalar tensor.
        ignore: Documents that are no negatives; an anchor's own document is never ignored.
        reduction: `mean` over anchors, or their `sum`.

    Returns:
        Scalar ≥ 0; 0 for an anchor that has no negative.
    """
    if targets is None:
        targets = torch.arange(len(anchor), device=anchor.device)
    scale = 1 / torch.as_tensor(temperature, dtype=anchor.dtype, device=anchor.device)
    total = _SlicedCrossEntropy.apply(normalize(anchor), normalize(documents), targets, scale, ignore)
    return total / max(1, len(anchor)) if reduction == "mean" else total


class InfoNCE(EmbeddingLoss):
    """Contrasts each anchor's positive with every other document of the global batch and with the mined negatives.

        L^{q→d} = −(1/B) Σ_i ln[ S(x_i,y_i) / (S(x_i,y_i) + Σ_{n ∈ N_i} S(x_i,n)) ],    S(a,b) = exp(φ(a,b)/τ)

    Equation 2 of *jina-embeddings-v5-text* (arXiv 2602.15547). N_i: the documents of all ranks without those that are known to fit
    the anchor: the same text as its positive or as itself, the positive of an equal anchor, a document of its label, or one that the
    teacher finds too like it.

    Args:
        temperature: τ > 0; where it is learnable, the value it starts from.
        learnable_temperature: Whether τ trains (as ln τ).
        min_temperature: The least that a learnable τ may become.
        symmetric: Adds the other direction d→q: each positive finds its anchor among all anchors.
        gather: Whether other ranks' documents are negatives too; if not, the loss depends on how rows are spread over ranks.
        mask_same_text: Whether documents known by their text to fit the anchor are no negatives.
        mask_same_label: Whether documents of the anchor's label are no negatives (where the batch has labels).
        teacher_margin: A document whose teacher cosine with the anchor exceeds the positive's minus this is no negative.
        teacher_max: A document whose teacher cosine with the anchor exceeds this is no negative.
    """

    def __init__(
        self,
        temperature: float = 0.02,
        learnable_temperature: bool = False,
        min_temperature: float = 0.005,
        symmetric: bool = False,
        gather: bool = True,
        mask_same_text: bool = True,
        mask_same_label: bool = True,
        teacher_margin: float | None = None,
        teacher_max: float | None = None,
    ) -> None:
        super().__init__()
        if not 0 < min_temperature <= temperature:
            raise ValueError(
                f"InfoNCE needs 0 < min_temperature <= temperature, got {min_temperature} and {temperature}"
            )
        self.log_temperature = nn.Parameter(torch.tensor(math.log(temperature)), requires_grad=learnable_temperature)
        self.min_temperature, self.symmetric, self.shared = min_temperature, symmetric, gather
        self.mask_same_text, self.mask_same_label = mask_same_text, mask_same_label
        self.teacher_margin, self.teacher_max = teacher_margin, teacher_max
        self.guided = teacher_margin is not None or teacher_max is not None
        self.requires = frozenset({ANCHOR, POSITIVE} | ({"teacher"} if self.guided else set()))
        self.uses = frozenset({NEGATIVE})

    @property
    def temperature(self) -> Tensor:
        """τ, a scalar tensor."""
        return self.log_temperature.float().exp()

    def on_step_end(self, module: nn.Module, step: int) -> None:
        """Holds a learnable τ at or above its floor."""
        with torch.no_grad():
            self.log_temperature.clamp_(min=math.log(self.min_temperature))

    def forward(self, batch: EmbeddingBatch) -> Tensor:
        """q→d, plus d→q if symmetric."""
        loss = self._one_way(batch, ANCHOR, (POSITIVE, NEGATIVE))
        return loss + self._one_way(batch, POSITIVE, (ANCHOR,)) if self.symmetric else loss

    def _one_way(self, batch: EmbeddingBatch, query: str, pool: tuple[str, ...]) -> Tensor:
        """Each row of `query` finds its partner, its row of `pool[0]`, among all columns of `pool`."""
        pool = tuple(role for role in pool if role in batch.student)
        columns = [self._column(batch, "student", role) for role in pool]
        documents = torch.cat([column.rows for column in columns])
        rows = batch.student[query]
        targets = columns[0].offset + torch.arange(len(rows), device=rows.device)
        ignore = self._false_negatives(batch, query, pool, targets)
        total = info_nce(rows, documents, targets, self.temperature, ignore, "sum")
        return global_mean(total, len(rows))

    def _column(self, batch: EmbeddingBatch, column: str, role: str) -> Gathered:
        return batch.gather(column, role) if self.shared else Gathered(getattr(batch, column)[role], 0)

    def _false_negatives(
        self, batch: EmbeddingBatch, query: str, pool: tuple[str, ...], targets: Tensor
    ) -> FalseNegatives | None:
        mine: list[Tensor] = []  # one id of each query per rule
        theirs: list[Tensor] = []  # the same of each document in the pool
        if self.mask_same_text and batch.has("keys"):
            partner, keys = pool[0], {role: self._column(batch, "keys", role).rows for role in (query, *pool)}
            text = torch.cat([keys[role] for role in pool])
            # a document's own query: only those at the head of the pool have one
            owner = torch.cat([keys[query], text.new_full((len(text) - len(keys[partner]),), MISSING)])
            mine += [batch.keys[partner], batch.keys[query], batch.keys[query]]
            theirs += [text, text, owner]
        if self.mask_same_label and all(role in batch.label for role in (query, *pool)):
            mine.append(batch.label[query] + 1)
            theirs.append(torch.cat([self._column(batch, "label", role).rows for role in pool]) + 1)
        if not mine and not self.guided:
            return None
        size = (len(batch.student[query]), len(torch.cat(theirs)) if theirs else 0)
        ids = (torch.stack(mine, 1), torch.stack(theirs, 1)) if mine else None
        if not self.guided:
            assert ids is not None
            return FalseNegatives(*ids)
        guide = normalize(batch.teacher[query].detach().float())
        documents = torch.cat([self._column(batch, "teacher", role).rows for role in pool]).detach().float()
        documents = normalize(documents)
        limit = teacher_limit((guide * documents[targets]).sum(-1), self.teacher_margin, self.teacher_max)
        if ids is None:
            ids = (targets.new_zeros(size[0], 0), targets.new_zeros(len(documents), 0))
        return FalseNegatives(*ids, guide, documents, limit)
