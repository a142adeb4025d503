"""The Dense and Normalize modules of a sentence-transformers folder, which stand between its backbone and its vectors."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from torch import nn

from lightning_embed.errors import UserError, first_line
from lightning_embed.heads.dense import ACTIVATIONS, Dense, Normalize
from lightning_embed.utils.hashing import weights_hash

TOKENS, TEXT = "token_embeddings", "sentence_embedding"
"""What sentence-transformers calls the tokens' vectors, and a text's."""


@dataclass(frozen=True)
class DenseSettings:
    """A Dense module of a folder."""

    folder: Path
    """Its own folder, which holds its weights."""
    in_dim: int
    out_dim: int
    bias: bool
    activation: str


Head = DenseSettings | None
"""A Dense, or None: a Normalize."""


@dataclass(frozen=True)
class HeadSettings:
    """What stands between a backbone and its vectors, in order."""

    tokens: tuple[DenseSettings, ...] = ()
    """Before the pooling."""
    texts: tuple[Head, ...] = ()
    """After the pooling, up to the last Dense: all vectors are brought to length 1 at the end anyway."""


def read_heads(folder: Path, modules: Sequence[Mapping[str, Any]]) -> HeadSettings:
    """Reads the Dense and Normalize modules of a folder.

    Args:
        folder: A model folder.
        modules: What its modules.json lists.

    Raises:
        UserError: A Dense is not one that can be read, or is not where its vectors go through it.
    """
    kinds = [str(module["type"]).rsplit(".", 1)[-1] for module in modules]
    dense = [place for place, kind in enumerate(kinds) if kind == "Dense"]
    if not dense:
        return HeadSettings()
    pools = [place for place, kind in enumerate(kinds) if kind in ("Pooling", "StaticEmbedding")]
    if not pools:
        raise UserError(f"model folder {folder}: it has a module Dense and no Pooling, which a vector per text needs")
    pooling = pools[0]
    tokens = [_read_dense(folder / modules[place]["path"], TOKENS) for place in dense if place < pooling]
    texts: list[Head] = []
    for place in range(pooling + 1, dense[-1] + 1):
        if kinds[place] in ("Dense", "Normalize"):
            texts.append(_read_dense(folder / modules[place]["path"], TEXT) if kinds[place] == "Dense" else None)
    return HeadSettings(tuple(tokens), tuple(texts))


def _read_dense(folder: Path, vectors: str) -> DenseSettings:
    file = folder / "config.json"
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
        sizes = (int(config["in_features"]), int(config["out_features"]))
        if min(sizes) < 1:
            raise ValueError(f"sizes of {sizes[0]} and {sizes[1]}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else first_line(error)
        raise UserError(f"{file}: expected the in_features and out_features of a Dense module ({reason})") from None
    if config.get("use_residual"):
        raise UserError(f"{file}: a Dense with use_residual is not supported")
    read = config.get("module_input_name") or TEXT
    written = config.get("module_output_name") or read
    if (read, written) != (vectors, vectors):
        where = "before" if vectors == TOKENS else "after"
        raise UserError(
            f"{file}: a Dense {where} the Pooling must map {vectors}, and this one maps {read} to {written}"
        )
    named = config.get("activation_function", "torch.nn.modules.activation.Tanh")  # sentence-transformers' default
    path, _, activation = str(named).rpartition(".")
    if activation not in ACTIVATIONS or not f"{path}.".startswith("torch.nn."):
        known = ", ".join(sorted(ACTIVATIONS))
        raise UserError(f"{file}: activation_function must be one of torch.nn's {known}; got {named}")
    return DenseSettings(folder, *sizes, bool(config.get("bias", True)), activation)


def build_heads(heads: Iterable[Head], size: int, what: str, random_init: bool) -> tuple[nn.Sequential, int]:
    """The layers with their weights, and the size of the vectors that they give.

    Args:
        heads: What `read_heads` gives, of tokens or of texts.
        size: Entries of the vectors that go in.
        what: What gives those, for messages.
        random_init: Whether the weights stay random.

    Raises:
        UserError: Sizes do not fit, or weights cannot be read.
    """
    made = nn.Sequential()
    for head in heads:
        if head is None:
            made.append(Normalize())
            continue
        if head.in_dim != size:
            raise UserError(
                f"{head.folder / 'config.json'}: in_features is {head.in_dim}, but {what} gives vectors of {size}"
            )
        dense = Dense(head.in_dim, head.out_dim, head.bias, head.activation)
        if not random_init:
            _load(dense, head)
        made.append(dense)
        size, what = head.out_dim, f"the Dense in {head.folder}"
    return made, size


def _load(dense: Dense, head: DenseSettings) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    file = head.folder / "model.safetensors"
    if not file.is_file():
        raise UserError(f"{file}: the weights of a Dense module were expected there; pickled ones are not read")
    try:
        state = load_file(file)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{file}: cannot be read ({first_line(error)})") from None
    for name, own in dense.state_dict().items():
        found = tuple(state[name].shape) if name in state else None
        if found != tuple(own.shape):
            raise UserError(f"{file}: {name} must be of shape {tuple(own.shape)}, as config.json says; got {found}")
    if set(state) != set(dense.state_dict()):
        raise UserError(
            f"{file}: expected {', '.join(dense.state_dict())}, as config.json says; got {', '.join(state)}"
        )
    dense.load_state_dict(state)


def heads_identity(heads: HeadSettings) -> list[Any]:
    """What the vectors depend on: each module's sizes, activation and weights, in order, as plain data; empty without modules.

    Args:
        heads: A folder's.
    """
    return [_identity(head) for head in (*heads.tokens, *heads.texts)]


def _identity(head: Head) -> str:
    if head is None:
        return "normalize"
    about = {name: value for name, value in asdict(head).items() if name != "folder"}
    content = json.dumps(about, sort_keys=True) + weights_hash(head.folder)
    return blake2b(content.encode(), digest_size=16).hexdigest()
