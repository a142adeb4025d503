"""A folder as the newest sentence-transformers saves it -> the same in words that older readers know too.

sentence-transformers 5 and transformers 4, text-embeddings-inference, vLLM and llama.cpp's converter refuse the newest names of modules and
settings or, worse, pass over them and pool, cut or rotate in their own default way. The newest version reads the older names as well.
"""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

MODULES = "sentence_transformers.models."
"""Where every version finds the modules that it has."""
POOLINGS = {
    "cls": "pooling_mode_cls_token",
    "mean": "pooling_mode_mean_tokens",
    "max": "pooling_mode_max_tokens",
    "mean_sqrt_len_tokens": "pooling_mode_mean_sqrt_len_tokens",
    "weightedmean": "pooling_mode_weightedmean_tokens",
    "lasttoken": "pooling_mode_lasttoken",
}
"""Pooling -> its boolean in the older schema."""


def write_for_older_readers(folder: Path) -> None:
    """Rewrites the settings of a saved sentence-transformers folder; for the newest version they say the same.

    Args:
        folder: As sentence-transformers saved it.
    """
    for file in folder.rglob("modules.json"):
        _edit(file, _old_modules)
    for file in folder.rglob("router_config.json"):
        _edit(file, _old_routes)
    for file in folder.rglob("*_Pooling/config.json"):
        _edit(file, _old_pooling)
    for file in folder.rglob("*_Dense/config.json"):
        _edit(file, _old_dense)
    for file in folder.rglob("sentence_bert_config.json"):
        _edit(file, partial(_old_body, file.parent))
        _edit(file.parent / "config.json", _old_rotary)
        _edit(file.parent / "tokenizer_config.json", _old_tokenizer)


def _edit(file: Path, change: Callable[[Any], None]) -> None:
    if file.exists():
        content = json.loads(file.read_text("utf-8"))
        change(content)
        file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")


def _old_name(kind: str) -> str:
    return MODULES + kind.rpartition(".")[2]


def _old_modules(modules: list[dict[str, Any]]) -> None:
    for module in modules:
        module["type"] = _old_name(module["type"])


def _old_routes(config: dict[str, Any]) -> None:
    config["types"] = {name: _old_name(kind) for name, kind in config.get("types", {}).items()}


def _old_pooling(config: dict[str, Any]) -> None:
    """The older schema alone, which all read: version 5 refuses the newer keys."""
    dim, mode = config.pop("embedding_dimension"), config.pop("pooling_mode")
    config["word_embedding_dimension"] = dim
    for name, key in POOLINGS.items():
        config[key] = mode == name


def _old_body(home: Path, config: dict[str, Any]) -> None:
    """Its newest keys, which the newest finds out by itself, are refused by version 5."""
    config.clear()
    config["max_seq_length"] = json.loads((home / "tokenizer_config.json").read_text("utf-8"))["model_max_length"]
    config["do_lower_case"] = False  # the tokenizer does so by itself; vLLM reads the length only beside it


def _old_rotary(config: dict[str, Any]) -> None:
    """θ as transformers 4 reads it: `rope_theta`, and ModernBERT's two."""
    rotary = config.get("rope_parameters") or {}
    if "rope_theta" in rotary:
        config["rope_theta"] = rotary["rope_theta"]
    for kind, key in (("full_attention", "global_rope_theta"), ("sliding_attention", "local_rope_theta")):
        if "rope_theta" in (rotary.get(kind) or {}):
            config[key] = rotary[kind]["rope_theta"]
    layers = config.get("layer_types") or []
    if "global_rope_theta" in config and "full_attention" in layers:
        period = [number for number, kind in enumerate(layers) if kind == "full_attention"]
        every = period[1] - period[0] if len(period) > 1 else len(layers)
        if [number for number in range(len(layers)) if number % every == 0] == period:
            config["global_attn_every_n_layers"] = every


def _old_tokenizer(config: dict[str, Any]) -> None:
    """transformers 4 knows a tokenizer that is its tokenizer.json under another name, and then gives token types to all models."""
    config["model_input_names"] = ["input_ids", "attention_mask"]
    if config.get("tokenizer_class") == "TokenizersBackend":
        config["tokenizer_class"] = "PreTrainedTokenizerFast"


def _old_dense(config: dict[str, Any]) -> None:
    """The vectors that a Dense reads, where they are those that it reads unasked."""
    for key in ("module_input_name", "module_output_name"):
        if config.get(key) in ("sentence_embedding", None):
            config.pop(key, None)
