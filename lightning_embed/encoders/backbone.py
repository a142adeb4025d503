"""Builds a transformers backbone: pretrained or random, some of its layers, another RoPE base."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lightning_embed.compat.transformers import attention_of, remake_rotary, rotary_modules
from lightning_embed.encoders.pretrained import require_weights
from lightning_embed.encoders.token_table import TokenTable, load_table, outline_table
from lightning_embed.errors import UserError, first_line, in_one_line
from lightning_embed.utils.quiet import quiet

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class BackboneSettings:
    """Which backbone is built, from which files, and how."""

    model: str
    """What the user wrote, for messages."""
    folder: Path
    """Where its files are."""
    layers: Sequence[int] | None = None
    """Which layers to keep, in this order; None: all."""
    rope_theta: float | None = None
    """θ of its rotary positions; None: the model's own."""
    random_init: bool = False
    """Whether to leave the weights random, whatever the folder has."""
    dtype: str = "float32"
    """`float32`, `bfloat16` or `float16`; rotary frequencies stay float32."""
    attention: str | None = None
    """transformers' attention implementation; None: its default."""
    dropout: float | None = None
    """Probability of every dropout; None: the model's own."""
    table: Path | None = None
    """The folder of a static model's table; None: a transformers model."""


def load_backbone(settings: BackboneSettings) -> nn.Module:
    """A transformers `AutoModel`, or a static model's table, ready to give hidden states.

    Args:
        settings: Which one.

    Raises:
        UserError: If the folder has no weights, the layers do not exist, or the backbone has no rotary positions.
    """
    from transformers import AutoModel

    model, folder, dtype = settings.model, settings.folder, DTYPES[settings.dtype]
    if settings.table is not None:
        return load_table(model, settings.table, dtype, settings.random_init)
    config = _config(settings)
    options: dict[str, Any] = {"attn_implementation": settings.attention} if settings.attention else {}
    if settings.random_init:
        backbone = AutoModel.from_config(config, dtype=dtype, **options)
    else:
        require_weights(model, folder)
        try:
            with quiet("transformers"):  # a head that is not used (an MLM head, a pooler) is no news
                backbone = AutoModel.from_pretrained(
                    folder, config=config, dtype=dtype, use_safetensors=True, trust_remote_code=False, **options
                )
        except (OSError, ValueError, RuntimeError) as error:
            raise UserError(f"model '{model}': its weights could not be loaded ({first_line(error)})") from None
    require_texts_alone(backbone, model)
    if settings.layers is not None:
        backbone = pick_layers(backbone, settings.layers, model)
    if getattr(backbone, "pooler", None) is not None:
        backbone.pooler.requires_grad_(False)  # its output is not read: DDP must not wait for its gradient
    return backbone.train()


def outline_backbone(settings: BackboneSettings) -> nn.Module:
    """What `load_backbone` would give, without its weights: every module, name and shape, on torch's meta device.

    Args:
        settings: Which one.

    Raises:
        UserError: If loading could not succeed: no weights or unreadable ones, layers that do not exist, no rotary positions.
    """
    from safetensors import SafetensorError, safe_open
    from transformers import AutoModel

    model, folder = settings.model, settings.folder
    if settings.table is not None:
        with torch.device("meta"):
            return TokenTable(*outline_table(model, settings.table))
    config = _config(settings)
    require_weights(model, folder)
    for file in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(file, framework="pt"):  # reads the header, and holds it against the file's length
                pass
        except (OSError, SafetensorError) as error:
            raise UserError(f"model '{model}': {file} could not be read ({error}); fetch or save it again") from None
    with torch.device("meta"):
        backbone = AutoModel.from_config(config, dtype=DTYPES[settings.dtype])
        require_texts_alone(backbone, model)
        return backbone if settings.layers is None else pick_layers(backbone, settings.layers, model)


def require_texts_alone(backbone: nn.Module, model: str) -> None:
    """Raises `UserError` for an encoder-decoder that needs another input than a text (T5's decoder; BART's shifts the text by itself).

    Args:
        backbone: A transformers model.
        model: What the user wrote, for messages.
    """
    config: Any = backbone.config
    if not getattr(config, "is_encoder_decoder", False):
        return
    ids = torch.ones(1, 2, dtype=torch.long, device=next(backbone.parameters()).device)
    try:
        with torch.no_grad():
            backbone(input_ids=ids, attention_mask=ids)
    except ValueError:
        raise UserError(
            f"model '{model}': {config.model_type} is an encoder-decoder, whose decoder needs an input of its own; give a model that is an "
            "encoder or a decoder alone"
        ) from None


def _config(settings: BackboneSettings) -> Any:
    """The folder's transformers config with the settings written into it."""
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(settings.folder, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise UserError(f"model '{settings.model}': its config could not be read ({first_line(error)})") from None
    if settings.rope_theta is not None:
        _set_rope_theta(config, settings.rope_theta, settings.model)
    config.use_cache = False
    if settings.dropout is not None:
        for name, value in config.to_dict().items():
            if name.endswith(("dropout", "dropout_prob", "pdrop")) and isinstance(value, int | float):
                setattr(config, name, settings.dropout)
    return config


def _set_rope_theta(config: Any, theta: float, model: str) -> None:
    """Writes θ where this family keeps it; it must be there before the model is built, for its buffers are made from it."""
    parameters = require_rotary(config, model, "rope_theta")
    nested = [p for p in parameters.values() if isinstance(p, dict)]
    for one in [parameters["full_attention"]] if "full_attention" in parameters else nested or [parameters]:
        one["rope_theta"] = float(theta)


def require_rotary(config: Any, model: str, setting: str) -> dict[str, Any]:
    """The config's settings of its rotary positions.

    Args:
        config: A transformers config.
        model: What the user wrote, for messages.
        setting: What asks for them.

    Raises:
        UserError: It has none.
    """
    parameters: dict[str, Any] | None = getattr(config, "rope_parameters", None)
    if not parameters:
        raise UserError(f"model '{model}': {setting} was given, but {config.model_type} has no rotary positions")
    return parameters


def change_rope_theta(backbone: nn.Module, theta: float, model: str) -> None:
    """Gives a backbone another θ: its config and its rotary frequencies.

    Args:
        backbone: A transformers model with rotary positions.
        theta: θ.
        model: What the user wrote, for messages.
    """
    config: Any = backbone.config
    _set_rope_theta(config, theta, model)
    for name, module in rotary_modules(backbone):
        backbone.set_submodule(name, remake_rotary(module, config))


def checkpoint_each_layer(backbone: nn.Module, model: str) -> None:
    """Lets a backbone compute each layer again in the backward pass instead of keeping its activations.

    Args:
        backbone: A transformers model.
        model: What the user wrote, for messages.

    Raises:
        UserError: Its family cannot.
    """
    try:
        enable: Any = getattr(
            backbone, "activation_checkpointing_enable", None
        )  # the other name is that of older versions
        (enable or backbone.gradient_checkpointing_enable)({"use_reentrant": False})  # type: ignore[operator]
    except ValueError:
        raise UserError(
            f"model '{model}': {type(backbone).__name__} cannot checkpoint_layers; take checkpoint_chunks"
        ) from None


def layer_list(backbone: nn.Module) -> tuple[str, nn.ModuleList]:
    """The backbone's transformer layers and their name in its state dict.

    Args:
        backbone: A transformers model whose config tells `num_hidden_layers`.
    """
    count = backbone.config.num_hidden_layers  # type: ignore[union-attr]
    for name, module in backbone.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return name, module
    raise UserError(
        f"{type(backbone).__name__}: its {count} layers are not modules of their own in one list (ALBERT's share their weights), as "
        "adapters, `layers` and sharding need them"
    )


def set_layer_count(config: Any, layers: Sequence[int]) -> None:
    """Writes into a config that a model has some of its layers.

    Args:
        config: A transformers config.
        layers: Indices from 0, in their new order.
    """
    config.num_hidden_layers = len(layers)
    for name in ("layer_types", "attention_window"):  # one entry a layer
        if isinstance(entries := getattr(config, name, None), list):
            setattr(config, name, [entries[i] for i in layers])


def pick_layers(backbone: nn.Module, layers: Sequence[int], model: str) -> nn.Module:
    """A backbone of the same family that starts from some layers of this one.

    Args:
        backbone: The model to take from.
        layers: Indices from 0, in their new order.
        model: What the user wrote, for messages.

    Raises:
        UserError: If an index is out of range, or a layer does not fit in its new place.
    """
    from transformers import AutoModel

    name, found = layer_list(backbone)
    if not layers or any(not 0 <= i < len(found) for i in layers):
        raise UserError(f"model '{model}': layers must be indices from 0 to {len(found) - 1}, got {list(layers)}")
    config = type(backbone.config).from_dict(backbone.config.to_dict())  # type: ignore[union-attr, operator]
    # not .to(dtype), which would round the rotary frequencies too
    dtype, attention = next(backbone.parameters()).dtype, attention_of(backbone)
    try:
        set_layer_count(config, layers)
        small: nn.Module = AutoModel.from_config(config, dtype=dtype, attn_implementation=attention)
    except (AssertionError, AttributeError, ValueError) as error:
        raise UserError(
            f"model '{model}': layers: {config.model_type} cannot be built of {len(layers)} of its layers ({first_line(error, 150)})"
        ) from None
    state = {key: value for key, value in backbone.state_dict().items() if not key.startswith(f"{name}.")}
    for new, old in enumerate(layers):
        state.update({f"{name}.{new}.{key}": value for key, value in found[old].state_dict().items()})
    try:
        small.load_state_dict(state, strict=True)
    except RuntimeError as error:
        reason = in_one_line(error)
        raise UserError(f"model '{model}': layers {list(layers)} do not fit in their new places ({reason})") from None
    return small
