"""TextEncoder: ragged tokens in, one vector per text out, whatever the backbone."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lightning_embed.batch import Tokens
from lightning_embed.distributed.collectives import is_sharded, max_over_ranks
from lightning_embed.encoders.backbone import (
    BackboneSettings,
    checkpoint_each_layer,
    load_backbone,
    require_rotary,
)
from lightning_embed.encoders.chunks import CPU_FORWARD_COST, FORWARD_COST, plan_chunks
from lightning_embed.encoders.folder_heads import build_heads
from lightning_embed.encoders.lora import Adapter, adapter_off, attach, base_identity, is_adapters
from lightning_embed.encoders.packing.attention import compute_dtype, has_kernel
from lightning_embed.encoders.packing.proof import Packing, proves
from lightning_embed.encoders.packing.rows import plan_rows, positions, run_packed
from lightning_embed.encoders.pretrained import PIP, FolderSettings, locate, read_settings
from lightning_embed.encoders.sizes import checked_dim, checked_length, width_of
from lightning_embed.encoders.token_table import TokenTable, check_tokens, refuse_settings
from lightning_embed.errors import UserError
from lightning_embed.heads import Pooling, normalize, pool, pool_packed
from lightning_embed.tokenizer import TextTokenizer
from lightning_embed.utils.described import Described, construction
from lightning_embed.utils.numbers import check_number, check_numbers


class TextEncoder(Described, nn.Module):
    """A transformers backbone with its tokenizer, a pooling and its folder's Dense layers: teacher, student, or any embedding model.

    Texts are sorted by length, encoded in a few padded chunks or packed rows and put back in order, which changes no vector and saves
    most or all of the padding's cost.

    Args:
        model: A folder (transformers or sentence-transformers, static models too), `pip:NAME` (a model that the Python package NAME
            carries) or a Hugging Face id.
        pooling: `last_token`, `mean` or `cls`; None: what the folder says, else `mean`.
        prompts: Text before each text, by role: {query: "Query: ", document: "Document: "}; None: what the folder says, else none.
        max_length: Tokens after which a text is cut; None: what the folder says, else the backbone's most.
        dim: Entries that are kept of each vector, before it is normalised; None: what the folder says, else all.
        layers: Layers of the backbone to start from, such as [0, 2, 5]; None: all.
        rope_theta: θ of the rotary positions; None: the model's own.
        random_init: Leaves the weights random: toys, and training from nothing.
        dtype: Weights' type: `float32`, `bfloat16` or `float16`.
        attention: transformers' attention implementation (`sdpa`, `eager`, `flash_attention_2`); None: its default.
        dropout: Probability of every dropout in training; None: the model's own.
        max_tokens: Token budget (with padding) of one forward; a single text may exceed it.
        packing: `on`: texts are laid end to end in one row, without padding, their boundaries kept; refused, with the difference printed,
            where that changes the vectors (MPNet's). `off`: padded chunks. `auto`: packed where a GPU has a kernel for it and packed
            texts have been shown equal to single ones on this very model, else padded chunks; on a CPU, `on` pays without dropout.
        checkpoint_chunks: Keeps no activations and computes each chunk again in the backward pass: the memory of one chunk for any
            batch, the same gradient.
        checkpoint_layers: Keeps, of each chunk, what goes into its layers alone, and computes each layer again in the backward pass:
            for chunks of few long texts.
        export_rope_theta: θ that the exported model has instead: train low, infer high; None: that of training.
        adapter: A LoRA adapter, which alone trains; None: the backbone and its heads do.
    """

    backbone: Any
    """The transformers model."""
    token_heads: nn.Sequential
    """The layers between the backbone and the pooling; mostly none."""
    heads: nn.Sequential
    """The layers after the pooling, before the vectors are truncated; mostly none."""

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
        packing: Packing | bool = "auto",
        checkpoint_chunks: bool = False,
        checkpoint_layers: bool = False,
        export_rope_theta: float | None = None,
        adapter: Adapter | None = None,
    ) -> None:
        super().__init__()
        what = f"model '{model}': "
        for name, count in (("max_length", max_length), ("dim", dim)):
            check_number(what + name, count, least=1, whole=True, optional=True)
        for name, theta in (("rope_theta", rope_theta), ("export_rope_theta", export_rope_theta)):
            check_number(what + name, theta, above=0, optional=True)
        check_numbers(what + "layers", layers, least=0, whole=True, optional=True)
        check_number(what + "dropout", dropout, least=0, below=1, optional=True)
        check_number(what + "max_tokens", max_tokens, least=1, whole=True)
        folder = locate(model)
        stored = self.folder_settings(folder)
        if stored.table is not None:
            given: dict[str, object] = {"pooling": pooling not in (None, "mean"), "packing": packing != "auto"}
            given |= {"layers": layers, "rope_theta": rope_theta, "attention": attention, "dropout": dropout}
            given |= {
                "checkpoint_layers": checkpoint_layers,
                "export_rope_theta": export_rope_theta,
                "adapter": adapter,
            }
            refuse_settings(model, given)
        self.model, self.folder, self.table = model, folder, stored.table
        self.pooling: Pooling = pooling or stored.pooling or "mean"  # type: ignore[assignment]
        self.layers, self.rope_theta, self.random_init, self.dtype = layers, rope_theta, random_init, dtype
        self.attention, self.dropout = attention, dropout
        self.checkpoint_layers, self.export_rope_theta, self.adapter = checkpoint_layers, export_rope_theta, adapter
        shape = self.build_backbone()
        if export_rope_theta is not None:
            require_rotary(shape.config, model, "export_rope_theta")
        prompts = stored.prompts if prompts is None else prompts
        if any(prompts.values()) and not stored.pools_prompts:
            raise UserError(
                f"{what}its pooling leaves out the tokens of prompts (include_prompt: false), which is not supported; prompts: {{}} does "
                "without prompts"
            )
        length = checked_length(shape, max_length or stored.max_length, model)
        static = isinstance(shape, TokenTable)
        words = folder if self.table is None else self.table / "tokenizer.json"
        last = self.pooling == "last_token"
        self.tokenizer = TextTokenizer(words, prompts, length, last, stored.lowercase, special_tokens=not static)
        if static:
            check_tokens(model, shape, self.tokenizer)
        self.head_settings = stored.heads
        self.build_heads(width_of(shape))
        self.dim = checked_dim(self.width, dim, model) or stored.dim or self.width
        self.max_tokens, self.checkpoint_chunks = max_tokens, checkpoint_chunks
        on_off: dict[bool, Packing] = {True: "on", False: "off"}  # what YAML reads a bare on and off as
        self.packing: Packing = on_off[packing] if isinstance(packing, bool) else packing
        self.proven: dict[tuple[str, str, torch.dtype], bool] = {}
        self.base = None if adapter is None or random_init else base_identity(model, folder, layers, self.head_settings)

    @property
    def backbone_settings(self) -> BackboneSettings:
        """Which backbone `load_backbone` builds."""
        return BackboneSettings(
            model=self.model,
            folder=self.folder,
            layers=self.layers,
            rope_theta=self.rope_theta,
            random_init=self.random_init,
            dtype=self.dtype,
            attention=self.attention,
            dropout=self.dropout,
            table=self.table,
        )

    def folder_settings(self, folder: Path) -> FolderSettings:
        """What the model's folder lays down; the constructor calls it once.

        Args:
            folder: The model's folder.
        """
        return read_settings(folder)

    def load_backbone(self) -> nn.Module:
        """The backbone with its weights; override it for a backbone that transformers' `AutoModel` does not build.

        Returns:
            A module with a transformers `config`, called with `input_ids` and `attention_mask`, whose output has `last_hidden_state`.
        """
        return load_backbone(self.backbone_settings)

    def build_backbone(self) -> nn.Module:
        """Sets `backbone`, with checkpointed layers and an adapter as asked for; the constructor calls it once.

        Returns:
            The module whose config and sizes the rest is made from: the backbone, or an outline where its weights are loaded later.
        """
        self.backbone = self.load_backbone()
        if self.checkpoint_layers:
            checkpoint_each_layer(self.backbone, self.model)
        if self.adapter is not None:
            attach(self.backbone, self.adapter, self.model)
        return self.backbone

    def build_heads(self, hidden: int) -> None:
        """Sets `token_heads`, `heads` and `width`, the size of what they give; an adapter leaves them frozen, as it does the backbone.

        Args:
            hidden: Size of the backbone's hidden states.
        """
        what = f"the backbone of model '{self.model}'"
        settings = self.head_settings
        self.token_heads, self.pooled = build_heads(settings.tokens, hidden, what, self.random_init)
        what = what if not settings.tokens else "the pooling"
        self.heads, self.width = build_heads(settings.texts, self.pooled, what, self.random_init)
        for heads in (self.token_heads, self.heads):
            heads.requires_grad_(self.adapter is None)

    def vectors(self, hidden: Tensor, lengths: Tensor) -> Tensor:
        """One vector per text from the backbone's hidden states: its heads, its pooling between them, and the truncation.

        Args:
            hidden: (n, T, D), padded on the right; or (T, D), packed.
            lengths: (n,) tokens of each text, ≥ 1, on the device of `hidden`.

        Returns:
            (n, dim), not normalised.
        """
        pooled = self.pool(self.token_heads(hidden), lengths)
        found: Tensor = self.heads(pooled)[:, : self.dim]
        return found

    def pool(self, hidden: Tensor, lengths: Tensor) -> Tensor:
        """One vector per text from the tokens' vectors; override it for a pooling of your own.

        An exported folder names one of the poolings of `pooling`, and its proof fails where the vectors differ from this one's.

        Args:
            hidden: (n, T, D), padded on the right; or (T, D), packed: the texts end to end, without padding.
            lengths: (n,) tokens of each text, ≥ 1, on the device of `hidden`.

        Returns:
            (n, D), neither truncated nor normalised.
        """
        return (pool if hidden.dim() == 3 else pool_packed)(hidden, lengths, self.pooling)

    @property
    def settings(self) -> dict[str, Any]:
        """Class and constructor arguments as plain data, those of a subclass included: what a checkpoint rebuilds it from."""
        return construction(self).settings

    @property
    def is_local(self) -> bool:
        """Whether its model is a folder or package of this machine, rather than one of a hub."""
        return self.model.startswith(PIP) or Path(self.model).expanduser().is_dir()

    @property
    def parameter_count(self) -> int:
        """Weights of the backbone and its heads; an adapter, which an export merges into them, adds none."""
        backbone = sum(p.numel() for name, p in self.backbone.named_parameters() if not is_adapters(name))
        return backbone + self.head_parameter_count

    @property
    def head_parameter_count(self) -> int:
        """Weights of the heads."""
        return sum(p.numel() for heads in (self.token_heads, self.heads) for p in heads.parameters())

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
        packed = self._packs()
        run: Callable[..., Tensor] = self._encode_packed if packed else self._encode_padded
        if self.checkpoint_chunks and torch.is_grad_enabled():
            run = partial(checkpoint, run, use_reentrant=False)
        starts = tokens.lengths.cumsum(0) - tokens.lengths
        order = tokens.lengths.argsort(descending=True, stable=True)
        lengths = tokens.lengths[order]
        cost = CPU_FORWARD_COST if tokens.ids.device.type == "cpu" else FORWARD_COST
        listed = lengths.tolist()
        plan = plan_rows(listed, self.max_tokens) if packed else plan_chunks(listed, self.max_tokens, cost)
        # Ranks that share weights meet in every forward: one with fewer runs dummy forwards of one token, whose output is dropped.
        forwards = max(1, max_over_ranks(len(plan), tokens.ids.device) if is_sharded(self) else len(plan))
        parts = [run(tokens.ids, starts[order[rows]], lengths[rows]) for rows in plan]
        nothing, one = torch.zeros(1, dtype=torch.long), torch.ones(1, dtype=torch.long)
        parts += [run(nothing.to(self.device), nothing, one)[:0] for _ in range(forwards - len(plan))]
        return torch.cat(parts)[order.argsort().to(parts[0].device)]

    def _packs(self) -> bool:
        """Whether texts are packed here, in the type that is now computed in; the proof runs once for each."""
        if isinstance(self.backbone, TokenTable):
            return True  # its tokens see nothing of each other, and each forward more would cost a gradient of the whole table
        device = self.device
        if self.packing == "off" or (self.packing == "auto" and not has_kernel(self.backbone, device)):
            return False
        key = (self.packing, device.type, compute_dtype(device, next(self.backbone.parameters()).dtype))
        if key not in self.proven:
            self.proven[key] = proves(self.packing, self.backbone, self.pool, self.tokenizer, self.model)
        return self.proven[key]

    def _encode_padded(self, ids: Tensor, starts: Tensor, lengths: Tensor) -> Tensor:
        """(n, dim) vectors of some texts, from long to short, padded beneath each other; only a chunk that is ragged has a mask."""
        ragged = bool(lengths[0] != lengths[-1])
        starts, lengths = starts.to(ids.device), lengths.to(ids.device)
        place = torch.arange(int(lengths[0]), device=ids.device)
        inside = place < lengths[:, None]
        padded = ids[(starts[:, None] + place).clamp(max=len(ids) - 1)].masked_fill(~inside, self.tokenizer.pad_id)
        hidden = self.backbone(input_ids=padded, attention_mask=inside.long() if ragged else None).last_hidden_state
        return self.vectors(hidden, lengths)

    def _encode_packed(self, ids: Tensor, starts: Tensor, lengths: Tensor) -> Tensor:
        """(n, dim) vectors of some texts, end to end in one row."""
        place = starts.repeat_interleave(lengths) + positions(lengths)
        hidden = run_packed(self.backbone, ids[place.to(ids.device)], lengths)
        return self.vectors(hidden, lengths.to(hidden.device))

    @torch.no_grad()
    def reference(self, tokens: Tokens) -> Tensor:
        """What `forward` gives with the adapter off: the base's vectors, without a gradient and without dropout.

        Args:
            tokens: n ragged texts.

        Returns:
            (n, D).
        """
        training = self.training
        self.eval()
        try:
            with adapter_off(self.backbone):
                return self(tokens)
        finally:
            self.train(training)

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

    def encode(self, texts: Sequence[str], role: str = "document", batch_rows: int = 4096) -> Tensor:
        """Unit vectors of texts, for notebooks and reports.

        Args:
            texts: n texts.
            role: `query` or `document`: which prompt precedes them.
            batch_rows: Texts that are tokenised and sorted together.

        Returns:
            (n, D) float32, on the CPU.
        """
        parts = []
        for start in range(0, len(texts), batch_rows):
            tokens, _, _ = self.tokenizer(texts[start : start + batch_rows], role)
            parts.append(self.embed(tokens.to(self.device)).cpu())
        return torch.cat(parts) if parts else torch.zeros(0, self.dim)
