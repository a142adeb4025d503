"""The checkpoint of an adapter: what trains, a note of the base that it belongs to, and not the base."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from lightning_embed.encoders.lora import is_adapters, settings_of
from lightning_embed.errors import UserError

if TYPE_CHECKING:
    from lightning_embed.encoders.text_encoder import TextEncoder

KEY = "adapter"
"""Where a checkpoint holds the note."""
FROZEN = ("student.backbone.", "student.token_heads.", "student.heads.")
"""Where an adapter's base has its weights."""


def leave_base_out(module: nn.Module) -> None:
    """Keeps the frozen base of a module's `student` out of the module's state dict, and lets one without it be loaded.

    Args:
        module: An `EmbeddingModule` whose student has an adapter.
    """
    module.register_state_dict_post_hook(_drop_base)
    module.register_load_state_dict_pre_hook(_fill_in_base)


def _drop_base(module: nn.Module, state: dict[str, Any], prefix: str, _: Any) -> None:
    frozen = tuple(prefix + part for part in FROZEN)
    for name in [n for n in state if n.startswith(frozen) and not is_adapters(n)]:
        del state[name]


def _fill_in_base(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    student: Any = module.student
    for part in FROZEN:
        for name, value in student.get_submodule(part.split(".")[1]).state_dict().items():
            if not is_adapters(name):
                state.setdefault(prefix + part + name, value)


def note_base(encoder: TextEncoder, checkpoint: dict[str, Any]) -> None:
    """Writes into a checkpoint which base its adapter belongs to; nothing for a student whose weights it holds itself.

    Args:
        encoder: The student.
        checkpoint: Its content.
    """
    if encoder.adapter is not None and encoder.base is not None:
        names = list(checkpoint["state_dict"])
        checkpoint[KEY] = {"base": encoder.base, "settings": settings_of(encoder.adapter), "weights": names}


def check_base(encoder: TextEncoder, checkpoint: Mapping[str, Any], trained: Iterable[str], what: str) -> None:
    """Raises `UserError` unless a checkpoint is one of this student's adapter, or neither has anything to do with adapters.

    Args:
        encoder: The student.
        checkpoint: Its content; a strategy that has loaded the weights has taken them out of it.
        trained: Names of all weights that train, which must be in it.
        what: What to call the checkpoint.
    """
    note = checkpoint.get(KEY)
    if note is None and encoder.base is None:
        return
    if note is None:
        raise UserError(
            f"{what} holds a whole student, not an adapter: export it, and give the folder as student.model to put an adapter on it"
        )
    base = note["base"]
    if encoder.base is None:
        raise UserError(f"{what} holds an adapter for {base['model']}, and this student has none: give student.adapter")
    if any(base.get(name) != encoder.base.get(name) for name in ("weights", "layers", "heads")):
        raise UserError(
            f"{what} holds an adapter for {_named(base)}, and this student starts from {_named(encoder.base)}: "
            "give the model that it was trained on as student.model"
        )
    assert encoder.adapter is not None
    ours, theirs = settings_of(encoder.adapter), note["settings"]
    for name, value in ours.items():
        if theirs[name] != value:
            raise UserError(f"{what} holds an adapter of {name} {theirs[name]}, and student.adapter has {name} {value}")
    missing = set(trained) - set(checkpoint.get("state_dict") or note["weights"])
    if missing:
        raise UserError(f"{what} lacks {len(missing)} weights that train, such as {min(missing)}")


def _named(base: Mapping[str, Any]) -> str:
    layers = f", layers {base['layers']}" if base["layers"] else ""
    return f"{base['model']}{layers} (weights {base['weights'][:8]})"


def with_base(encoder: TextEncoder, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A student's state with the base's weights, which its checkpoint leaves out.

    Args:
        encoder: The student, with its base loaded.
        state: What the checkpoint holds, by names within the student.
    """
    own = {name: value for name, value in encoder.state_dict().items() if not is_adapters(name)}
    return {**own, **state}
