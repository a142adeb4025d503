"""TextEncoder: ragged tokens in, one vector per text out, whatever the backbone."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lightning_embed.backbone import load_backbone, position_limit
from lightning_embed.batch import Tokens
from lightning_embed.errors import UserError
from lightning_embed.heads import Pooling, normalize, pool
from lightning_embed.pretrained import locate, read_settings
from lightning_embed.tokenizer import TextTokenizer

FORWARD_COST = 256
"""What one more forward costs, in tokens' worth of time: with it the plan weighs padding against the number of chunks."""


def plan_chunks(lengths: Sequence[int], max_tokens: int, forward_cost: int = FORWARD_COST) -> list[slice]:
    """Cuts rows, sorted from long to short, into padded chunks so that the time for all of them is least.

    A chunk of n rows whose longest has l tokens takes n·l + forward_cost; the cheapest cut is found exactly, from the last row back.

    Args:
        lengths: Tokens of each row, descending.
        max_tokens: The most that n·l may be in a chunk; a single row may exceed it.
        forward_cost: Overhead of a chunk, in tokens.
    """
    rows = len(lengths)
    best = np.zeros(rows + 1)
    cut = np.zeros(rows, dtype=np.int64)
    for start in range(rows - 1, -1, -1):
        most = min(rows - start, max(1, max_tokens // max(1, lengths[start])))
        costs = np.arange(1, most + 1) * lengths[start] + forward_cost + best[start + 1 : start + most + 1]
        n = int(costs.argmin())
        best[start], cut[start] = costs[n], start + n + 1
    chunks, start = [], 0
    while start < rows:
        chunks.append(slice(start, int(cut[start])))
        start = int(cut[start])
    return chunks


class TextEncoder(nn.Module):
    """A transformers backbone with its tokenizer and a pooling: the teacher, the student, or any embedding model.

    Rows are sorted by length, encoded in a few padded chunks and put back in order, which changes no vector and saves most of the
    padding's cost.

    Args:
        model: A folder (transformers or sentence-transformers), `pip:NAME` (a model that the Python package NAME carries) or a
            Hugging Face id.
        pooling: `last_token`, `mean` or `cls`; None: what the folder says, else `mean`.
        prompts: Text before each text, by role: {query: "Query: ", document: "Document: "}; None: what the folder says, else none.
        max_length: Tokens after which a text is cut; None: what the folder says, else the backbone's most.
        dim: Entries that are kept of each vector, before it is normalised; None: all D of the backbone.
        layers: Layers of the backbone to start from, such as [0, 2, 5]; None: all.
        rope_theta: θ of the rotary positions; None: the model's own.
        random_init: Leaves the weights random: toys, and training from nothing.
        dtype: Weights' type: `float32`, `bfloat16` or `float16`.
        attention: transformers' attention implementation (`sdpa`, `eager`, `flash_attention_2`); None: its default.
        dropout: Probability of every dropout in training; None: the model's own.
        max_tokens: Token budget (with padding) of one forward.
        checkpoint_chunks: Keeps no activations and computes each chunk again in the backward pass: the memory of one chunk for any
            batch, the same gradient.
    """

    def __init__(
        self,
        model: str,
        pooling: Pooling | None = None,
        prompts: dict[str, str] | None = None,
        max_length: int | None = None,
        dim: int | None = None,
        layers: list[int] | None = None,
        rope_theta: float | None = None,
        random_init: bool = False,
        dtype: str = "float32",
        attention: str | None = None,
        dropout: float | None = None,
        max_tokens: int = 16_384,
        checkpoint_chunks: bool = False,
    ) -> None:
        super().__init__()
        folder = locate(model)
        said = read_settings(folder)
        self.model, self.folder = model, folder
        self.pooling: Pooling = pooling or said.pooling or "mean"  # type: ignore[assignment]
        self.layers, self.rope_theta, self.random_init, self.dtype = layers, rope_theta, random_init, dtype
        self._attention, self._dropout = attention, dropout
        shape = self._build()
        config: Any = shape.config
        prompts = said.prompts if prompts is None else prompts
        limit = position_limit(shape)
        wanted = max_length or said.max_length or limit or config.max_position_embeddings
        if limit is not None and wanted > limit:
            raise UserError(f"model '{model}': max_length {wanted} is more than the {limit} positions that it has")
        self.tokenizer = TextTokenizer(folder, prompts, wanted, end_token=self.pooling == "last_token")
        width = int(config.hidden_size)
        if dim is not None and not 0 < dim <= width:
            raise UserError(f"model '{model}': dim must be from 1 to {width}, got {dim}")
        self.dim = dim or width
        self.max_tokens, self.checkpoint_chunks = max_tokens, checkpoint_chunks

    def _load(self) -> nn.Module:
        """The backbone with its weights."""
        return load_backbone(
            self.model,
            self.folder,
            self.layers,
            self.rope_theta,
            self.random_init,
            self.dtype,
            self._attention,
            self._dropout,
        )

    def _build(self) -> nn.Module:
        """Makes the backbone, and returns what tells its sizes; `FrozenEncoder` puts the first off."""
        self.backbone = self._load()
        return self.backbone

    @property
    def parameter_count(self) -> int:
        """Weights of the backbone."""
        return sum(p.numel() for p in self.backbone.parameters())

    @property
    def config(self) -> Any:
        """The backbone's transformers config."""
        return self.backbone.config

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.backbone.parameters()).device

    def forward(self, tokens: Tokens) -> Tensor:
        """One vector per text, pooled and truncated but not normalised.

        Args:
            tokens: n ragged texts; n may be 0, and the result then still depends on every weight, so that ranks stay in step.

        Returns:
            (n, D).
        """
        if len(tokens) == 0:
            one = Tokens(torch.zeros(1, dtype=torch.long, device=self.device), torch.ones(1, dtype=torch.long))
            return self(one)[:0]
        starts = tokens.lengths.cumsum(0) - tokens.lengths
        order = tokens.lengths.argsort(descending=True, stable=True)
        lengths = tokens.lengths[order]
        run: Callable[..., Tensor] = self._encode
        parts = []
        for rows in plan_chunks(lengths.tolist(), self.max_tokens):
            ids, real = self._pad(tokens.ids, starts[order[rows]], lengths[rows])
            if self.checkpoint_chunks and torch.is_grad_enabled():
                parts.append(checkpoint(run, ids, real, use_reentrant=False))
            else:
                parts.append(run(ids, real))
        return torch.cat(parts)[order.argsort().to(parts[0].device)]

    def _pad(self, ids: Tensor, starts: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(n, T) padded ids and (n,) real lengths of some texts, on the ids' device."""
        starts, lengths = starts.to(ids.device), lengths.to(ids.device)
        place = torch.arange(int(lengths[0]), device=ids.device)
        inside = place < lengths[:, None]
        padded = ids[(starts[:, None] + place).clamp(max=len(ids) - 1)]
        return padded.masked_fill(~inside, self.tokenizer.pad_id), lengths

    def _encode(self, ids: Tensor, lengths: Tensor) -> Tensor:
        mask = (torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]).long()
        hidden = self.backbone(input_ids=ids, attention_mask=mask).last_hidden_state
        return pool(hidden, lengths, self.pooling)[:, : self.dim]

    @torch.no_grad()
    def embed(self, tokens: Tokens) -> Tensor:
        """Unit vectors in float32, without a gradient and without dropout.

        Args:
            tokens: n ragged texts, on this encoder's device.

        Returns:
            (n, D).
        """
        training = self.training
        self.eval()
        try:
            return normalize(self(tokens).float())
        finally:
            self.train(training)

    def encode(self, texts: Sequence[str], role: str = "document", batch_rows: int = 256) -> Tensor:
        """Unit vectors of texts, for notebooks and reports.

        Args:
            texts: n texts.
            role: `query` or `document`: which prompt stands before them.
            batch_rows: Texts that are tokenised and sorted together.

        Returns:
            (n, D) float32, on the CPU.
        """
        parts = []
        for start in range(0, len(texts), batch_rows):
            tokens, _, _ = self.tokenizer(texts[start : start + batch_rows], role)
            parts.append(self.embed(tokens.to(self.device)).cpu())
        return torch.cat(parts) if parts else torch.zeros(0, self.dim)
