"""Whatever a user calls a model, made into something that embeds texts."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lightning_embed.checkpoints.student import config_in_use, is_checkpoint, load_student
from lightning_embed.compat.sentence_transformers import inner_model, set_inner_model
from lightning_embed.encoders.lora import ADAPTERS_FOLDER, BASE_WEIGHTS
from lightning_embed.encoders.pretrained import PIP, folder_bytes, locate
from lightning_embed.errors import UserError, first_line
from lightning_embed.evaluation.routes import is_routed, normalizes, require_routes
from lightning_embed.utils.hashing import contents_hash, weights_hash
from lightning_embed.utils.quiet import quiet

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from lightning_embed.encoders.text_encoder import TextEncoder

STORED = "stored:"
"""What precedes the name of given vectors: `stored:voyage`."""
MAPPED = "mapped:"
"""What precedes the name of given vectors and a model that is mapped to them: `mapped:voyage:path/to/model`."""


@dataclass(frozen=True)
class EvaluatedModel:
    """A model as an evaluation sees it."""

    name: str
    """How tables call it."""
    dim: int
    """D."""
    embed: Callable[[list[str], str, str | None], np.ndarray]
    """Maps n texts, their role (`query`, `document` or empty) and a prompt (None: the role's own) to (n, D) float32 vectors."""
    fingerprint: str
    """Changes with anything that changes a vector."""
    prompts: dict[str, str] = field(default_factory=dict)
    """By role, task type or task name."""
    similarity: str = "cosine"
    """sentence-transformers' name of the function that compares its vectors."""
    normalized: bool = True
    """Whether it gives vectors of unit length, before any truncation."""
    parameters: int | None = None
    """How many it has."""
    size_bytes: int | None = None
    """What it takes on disk."""
    halves: tuple[EvaluatedModel, EvaluatedModel] | None = None
    """Of a pair of models, the one that embeds queries and the one that embeds documents."""
    stored: bool = False
    """Whether its vectors are looked up and never computed: they are kept nowhere else, and one may be missing."""
    mapped: Mapped | None = None
    """Of a model whose vectors are another's, mapped, that other and the map."""
    about: str = ""
    """A line for the report."""

    @property
    def inner(self) -> tuple[EvaluatedModel, ...]:
        """The models that it is made of, if it is made of others."""
        return self.halves or ((self.mapped.model,) if self.mapped else ())

    @property
    def looks_up(self) -> bool:
        """Whether some of its vectors are looked up."""
        return self.stored or any(one.looks_up for one in self.inner)


@dataclass(frozen=True)
class Mapped:
    """What a mapped model is made of."""

    model: EvaluatedModel
    """Whose vectors are mapped."""
    apply: Callable[[np.ndarray], np.ndarray]
    """Maps (n, D) float32 vectors to (n, E) float32 ones."""


def split_name(spec: str) -> tuple[str, str]:
    """The name and the model of `NAME=MODEL`; without a name, the last parts of the path that say something.

    Args:
        spec: What the user wrote.
    """
    name, equals, model = spec.partition("=")
    if equals and name and "/" not in name and not Path(spec).exists():
        return name, model
    if spec.startswith(STORED):
        return spec.removeprefix(STORED), spec
    if spec.startswith(MAPPED):
        return f"mapped-{split_name(spec.split(':', 2)[-1])[0]}", spec
    parts = [part for part in Path(spec).parts if part not in ("checkpoints", "..", "/")]
    plain = parts[-1:] if parts and parts[-1] not in ("model", "last.ckpt", "best.ckpt") else parts[-2:]
    return ("/".join(plain) or spec).removeprefix(PIP), spec


def load_model(
    spec: str, device: str | None = None, batch_size: int = 32, config: str | Path | None = None
) -> EvaluatedModel:
    """Loads a model for evaluation.

    Args:
        spec: An exported or any other sentence-transformers folder, a transformers folder (read with mean pooling), a Lightning
            checkpoint of `EmbeddingModule`, a folder of a peft adapter, `pip:NAME`, or a Hugging Face id; `NAME=` before it names it.
        device: Where it runs; None: the GPU if there is one.
        batch_size: Texts a forward.
        config: The configuration of a checkpoint's run, in place of its own settings; None: those, or, of a checkpoint without any, what
            is found beside it.

    Raises:
        UserError: It is not there, has no weights, or does not load.
    """
    name, model = split_name(spec)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    path = Path(model).expanduser()
    if is_checkpoint(path):
        settings = config_in_use(path, config)
        encoder = load_student(path, settings).to(device)
        parts = sorted(path.iterdir()) if path.is_dir() else [path]
        return from_encoder(encoder, name, contents_hash([*parts, *([settings] if settings else [])]))
    if (path / "adapter_config.json").is_file():
        return _adapter(name, path, device, batch_size)
    if path.is_dir():
        folder = path
    else:
        _announce(model)
        folder = locate(model)
    require_routes(model, folder)
    loaded = _sentence_transformer(model, folder, device)
    return from_sentence_transformer(loaded, name, contents_hash([folder]), batch_size, folder_bytes(folder))


def from_encoder(encoder: TextEncoder, name: str, fingerprint: str) -> EvaluatedModel:
    """A `TextEncoder` for evaluation; its prompts are by role alone, and all texts but queries get the document prompt.

    Args:
        encoder: The encoder, on the device where it is to run.
        name: How tables call it.
        fingerprint: Of what it was loaded from.
    """

    def embed(texts: list[str], role: str, prompt: str | None) -> np.ndarray:
        return encoder.encode(texts, role or "document").numpy()

    weights = list(encoder.parameters())
    size = sum(p.numel() * p.element_size() for p in weights)
    return EvaluatedModel(
        name, encoder.dim, embed, fingerprint, parameters=sum(p.numel() for p in weights), size_bytes=size
    )


def from_sentence_transformer(
    model: SentenceTransformer, name: str, fingerprint: str, batch_size: int = 32, size_bytes: int | None = None
) -> EvaluatedModel:
    """A sentence-transformers model for evaluation.

    Args:
        model: The model, on the device where it is to run.
        name: How tables call it.
        fingerprint: Of what it was loaded from.
        batch_size: Texts a forward.
        size_bytes: What that takes on disk.
    """
    by_role = {"query": model.encode_query, "document": model.encode_document}

    def embed(texts: list[str], role: str, prompt: str | None) -> np.ndarray:
        encode: Any = by_role.get(role, model.encode)
        vectors = encode(texts, prompt=prompt, batch_size=batch_size, show_progress_bar=False, convert_to_tensor=True)
        return vectors.float().cpu().numpy()

    dim = model.get_embedding_dimension()
    if dim is None:
        dim = embed(["a"], "", None).shape[1]
    if is_routed(model):
        sizes = {role: embed(["a"], role, None).shape[1] for role in by_role}
        if len(set(sizes.values())) > 1:
            raise UserError(
                f"model '{name}': its Router gives queries {sizes['query']} dims and documents {sizes['document']}: they cannot be compared"
            )
        dim = sizes["query"]
    prompts = {role: prompt for role, prompt in model.prompts.items() if prompt is not None}
    return EvaluatedModel(
        name,
        dim,
        embed,
        fingerprint,
        prompts,
        str(model.similarity_fn_name or "cosine"),
        normalizes(model),
        sum(p.numel() for p in model.parameters()),
        size_bytes,
    )


def _announce(model: str) -> None:
    """Says what is about to be fetched, if it is."""
    if model.startswith(PIP) or model.startswith((".", "~", "/")) or model.count("/") > 1:
        return
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        cached = isinstance(try_to_load_from_cache(model, "config.json"), str)
    except HFValidationError:
        cached = False
    if not cached:
        print(f"fetching model {model} from the Hugging Face hub", file=sys.stderr, flush=True)


def _sentence_transformer(model: str, folder: Path, device: str) -> SentenceTransformer:
    if not any((folder / name).is_file() for name in ("modules.json", "config.json")):
        raise UserError(f"model '{model}': {folder} has neither modules.json nor config.json; give a model's folder")
    if not list(folder.rglob("*.safetensors")):
        other = sorted(
            p.name for p in folder.rglob("*") if p.suffix in {".bin", ".pt", ".pth", ".ckpt", ".onnx", ".h5"}
        )
        found = f"only {', '.join(other[:3])}, which are not read" if other else "none"
        raise UserError(f"model '{model}': weights were expected as *.safetensors in {folder}, found {found}")
    from sentence_transformers import SentenceTransformer

    if not (folder / "modules.json").is_file():
        print(f"note: {folder} has no modules.json; its token vectors are averaged", file=sys.stderr, flush=True)
    try:
        with quiet("transformers"):
            return SentenceTransformer(
                str(folder), device=device, local_files_only=True, model_kwargs={"use_safetensors": True}
            )
    except Exception as error:  # a broken folder fails in as many ways as there are files
        reason = first_line(error, 200)
        raise UserError(f"model '{model}': {folder} does not load ({reason})") from None


def _adapter(name: str, folder: Path, device: str, batch_size: int) -> EvaluatedModel:
    """A peft adapter on its base: that of the model whose `adapters/` it lies in, or the one that its config names.

    A folder that says how texts are read (modules.json) is read so, another one as its base is.
    """
    if not (folder / "adapter_model.safetensors").is_file():
        raise UserError(f"adapter '{folder}': weights were expected in adapter_model.safetensors, found none")
    try:
        base = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))["base_model_name_or_path"]
    except (ValueError, KeyError) as error:
        raise UserError(
            f"{folder / 'adapter_config.json'}: expected JSON with base_model_name_or_path ({error})"
        ) from None
    if folder.parent.name == ADAPTERS_FOLDER and (folder.parents[1] / "modules.json").is_file():
        base = str(folder.parents[1])
    if not Path(base).is_dir():
        _announce(base)
    home = Path(base) if Path(base).is_dir() else locate(base)
    _check_base(folder, home)
    if (folder / "modules.json").is_file():
        model = _sentence_transformer(str(folder), folder, device)
    else:
        model = _sentence_transformer(base, home, device)
        _merge(model, folder, base)
    size = folder_bytes(folder)
    return from_sentence_transformer(model, name, contents_hash([folder, home]), batch_size, size)


def _check_base(folder: Path, base: Path) -> None:
    """Raises `UserError` unless an adapter was trained on these weights; only those that `export` wrote note which they are."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(folder / "adapter_model.safetensors", framework="pt") as weights:
            noted = (weights.metadata() or {}).get(BASE_WEIGHTS, "").split()
    except (OSError, SafetensorError) as error:
        raise UserError(f"adapter '{folder}': its weights could not be read ({first_line(error)})") from None
    found = weights_hash(base)
    if noted and found not in noted:
        raise UserError(
            f"adapter '{folder}': it was trained on other weights ({noted[0][:8]}) than those of {base} ({found[:8]}); name its base in "
            "base_model_name_or_path of adapter_config.json"
        )


def _merge(model: SentenceTransformer, folder: Path, base: str) -> None:
    """Merges a peft adapter into a sentence-transformers model."""
    from peft import PeftModel

    try:
        adapted: Any = PeftModel.from_pretrained(inner_model(model), str(folder))
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"adapter '{folder}': does not fit on {base} ({first_line(error)})") from None
    set_inner_model(model, adapted.merge_and_unload())
