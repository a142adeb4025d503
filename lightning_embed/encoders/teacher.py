"""Teachers: an encoder that is loaded when it is first needed, and one that is known by its stored vectors alone."""

from collections.abc import Callable
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from lightning_embed.batch import Tokens
from lightning_embed.encoders.backbone import outline_backbone
from lightning_embed.encoders.folder_heads import heads_identity
from lightning_embed.encoders.lora import Adapter
from lightning_embed.encoders.packing.proof import Packing
from lightning_embed.encoders.text_encoder import TextEncoder
from lightning_embed.errors import UserError
from lightning_embed.heads import Pooling
from lightning_embed.utils.described import Described
from lightning_embed.utils.hashing import config_hash, weights_hash
from lightning_embed.utils.numbers import check_number


class FrozenEncoder(TextEncoder):
    """A `TextEncoder` that never trains, and whose weights are loaded when they are first used.

    Tokenizer, prompts, sizes and identity are known before; that the weight files exist and are whole is checked at once. So a run
    whose teacher vectors are all in the store never loads the teacher. Its arguments are those of `TextEncoder`, and `shard`.

    Args:
        shard: Whether its weights are sharded over the devices, with the strategy `fsdp2`; else each device holds them whole.
    """

    outline: nn.Module
    """The backbone's modules, names and shapes, without weights where those are loaded later."""
    required = False
    _then: Callable[[TextEncoder], None] | None = None

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
        *,
        shard: bool = False,
    ) -> None:
        if adapter is not None:
            raise UserError(f"teacher '{model}': an adapter trains, and a teacher does not; leave teacher.adapter out")
        super().__init__(
            model=model,
            pooling=pooling,
            prompts=prompts,
            max_length=max_length,
            dim=dim,
            layers=layers,
            rope_theta=rope_theta,
            random_init=random_init,
            dtype=dtype,
            attention=attention,
            dropout=dropout,
            max_tokens=max_tokens,
            packing=packing,
            checkpoint_chunks=checkpoint_chunks,
            checkpoint_layers=checkpoint_layers,
            export_rope_theta=export_rope_theta,
        )
        self.shard = shard

    def build_backbone(self) -> nn.Module:
        """Sets `outline` and leaves the weights for `load`; random ones depend on when they are drawn, so they are drawn now."""
        # an empty buffer moves with .to(device), and so shows where weights that are loaded later belong
        self.register_buffer("_place", torch.empty(0), persistent=False)
        outline = super().build_backbone() if self.random_init else outline_backbone(self.backbone_settings)
        object.__setattr__(self, "outline", outline)  # unregistered: it is no part of the encoder's weights
        return outline

    def load_backbone(self) -> nn.Module:
        """The backbone with its weights, frozen, on the device of the encoder."""
        backbone = super().load_backbone().eval().requires_grad_(False)
        return backbone if self._then is not None else backbone.to(self.device)  # shards are moved one by one

    def load(self) -> None:
        """Loads the weights, unless they are in memory; reading `backbone`, as every encoding does, calls it."""
        if self.loaded:
            return
        with torch.inference_mode(False), torch.random.fork_rng(devices=[]):  # a run draws alike, loaded or not
            self.backbone = self.load_backbone()
            if self._then is not None:
                self._then(self)

    def __getattr__(self, name: str) -> Any:
        """Loads the weights when `backbone` is first read: torch asks here for what is not set yet."""
        if name == "backbone":
            self.load()
        return super().__getattr__(name)

    def when_loaded(self, function: Callable[[TextEncoder], None]) -> None:
        """Has a function called with this encoder once its weights are in memory, which may be now.

        Args:
            function: Called once, e.g. to shard them.
        """
        self._then = function
        if self.loaded:
            function(self)

    @property
    def loaded(self) -> bool:
        """Whether the weights are in memory."""
        return "backbone" in dict(self.named_children())

    @property
    def config(self) -> Any:
        """The backbone's transformers config."""
        return self.outline.config

    @property
    def device(self) -> torch.device:
        """Where the weights are, or will be."""
        place = self._place
        assert isinstance(place, Tensor)
        return place.device

    @property
    def parameter_count(self) -> int:
        """Weights of the backbone and its heads, loaded or not."""
        return sum(p.numel() for p in self.outline.parameters()) + self.head_parameter_count

    def train(self, mode: bool = True) -> "FrozenEncoder":
        """Stays in eval mode."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, tokens: Tokens) -> Tensor:
        """One vector per text, as `TextEncoder.forward` gives it, without a gradient.

        Args:
            tokens: n ragged texts.

        Returns:
            (n, D).
        """
        return super().forward(tokens)

    @property
    def prompts(self) -> dict[str, str]:
        """Text before each text, by role of prompt."""
        return self.tokenizer.prompts

    @property
    def max_length(self) -> int:
        """Tokens after which a text is cut."""
        return self.tokenizer.max_length

    def identity(self) -> dict[str, Any] | None:
        """Everything its vectors depend on besides the text, prompt and length; None for random weights, which no file holds."""
        if self.random_init:
            return None
        own, heads = type(self).pool, heads_identity(self.head_settings)
        identity = {
            "weights": weights_hash(self.table or self.folder),
            "config": config_hash(self.folder) if self.table is None else "static",
            "tokenizer": self.tokenizer.fingerprint(),
            "pooling": self.pooling if own is TextEncoder.pool else f"{own.__module__}.{own.__qualname__}",
            "dim": self.dim,
            "layers": self.layers,
            "rope_theta": self.rope_theta,
            "dtype": self.dtype,
        }
        return identity | ({"heads": heads} if heads else {})


class StoredTeacher(Described, nn.Module):
    """A teacher of which only vectors are known, such as an API's: those that `cache --import` put under a name.

    Args:
        name: The name that they were imported under.
        dim: E, entries of each.
        prompts: Text that was put before each text when they were made, by role (`query`, `document`); None: none.
    """

    tokenizer = None
    max_length = None
    required = True

    def __init__(self, name: str, dim: int, prompts: dict[str, str] | None = None) -> None:
        super().__init__()
        check_number(f"teacher '{name}': dim", dim, least=1, whole=True)
        self.name, self.dim, self.prompts = name, dim, dict(prompts or {})

    def identity(self) -> dict[str, Any]:
        """Name and size."""
        return given_identity(self.name, self.dim)

    def forward(self, tokens: Tokens) -> NoReturn:
        """Raises `UserError`: there is nothing to run."""
        raise UserError(f"teacher '{self.name}' is known by its stored vectors alone and cannot embed another text")


def given_identity(name: str, dim: int) -> dict[str, Any]:
    """The identity of vectors that were given: what their owner calls them.

    Args:
        name: The name.
        dim: E.
    """
    return {"name": name, "dim": dim}
