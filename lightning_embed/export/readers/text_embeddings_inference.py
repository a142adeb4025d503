"""text-embeddings-inference's rules, as its version 1.9.3 reads a folder into its own (candle) models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning_embed.export.older_readers import MODULES
from lightning_embed.export.readers.laid_out import LaidOut, dense_out_of_order

NAME = "text-embeddings-inference 1.9"
COMMAND = "docker run -v $PWD/FOLDER:/model -p 8080:80 ghcr.io/huggingface/text-embeddings-inference:cpu-1.9 --model-id /model"
_TRANSFORMER = "vocab_size hidden_size num_hidden_layers num_attention_heads intermediate_size max_position_embeddings"
_BERT = f"{_TRANSFORMER} hidden_act hidden_dropout_prob type_vocab_size initializer_range layer_norm_eps pad_token_id"
_LLAMA = f"{_TRANSFORMER} num_key_value_heads hidden_act rms_norm_eps"
REQUIRED: dict[str, str] = {
    "bert": _BERT,
    "roberta": _BERT,
    "xlm-roberta": _BERT,
    "camembert": _BERT,
    "distilbert": "vocab_size dim n_layers n_heads hidden_dim activation max_position_embeddings pad_token_id",
    "mpnet": f"{_TRANSFORMER} hidden_act hidden_dropout_prob attention_probs_dropout_prob initializer_range layer_norm_eps "
    "relative_attention_num_buckets",
    "modernbert": f"{_TRANSFORMER} hidden_activation initializer_range initializer_cutoff_factor norm_eps norm_bias pad_token_id "
    "eos_token_id bos_token_id cls_token_id sep_token_id attention_bias attention_dropout local_attention classifier_activation "
    "global_rope_theta local_rope_theta global_attn_every_n_layers",
    "qwen3": f"{_LLAMA} attention_bias use_sliding_window eos_token_id",
    "qwen2": "",
    "llama": f"{_LLAMA} initializer_range",
    "mistral": f"{_LLAMA} initializer_range",
    "deberta-v2": "",
    "gemma3_text": "",
    "nomic_bert": "",
    "gte": "",
    "new": "",
}
"""Architecture -> the keys of config.json without which it does not start; none where its rules were not read."""
CUDA_ONLY = ("llama", "mistral", "qwen2")
NAMED = {MODULES + kind for kind in ("Transformer", "Pooling", "Dense", "Normalize")}
"""The only names of modules under which it finds Dense layers."""
ACTIVATIONS = (None, "torch.nn.modules.activation.Tanh", "torch.nn.modules.linear.Identity")


def refuses(folder: LaidOut) -> str:
    """Why it does not read such a model at all; empty where it does.

    Args:
        folder: The folder.
    """
    kind = folder.architecture
    return "" if kind in REQUIRED else f"it has no model of the architecture {kind}"


def differences(folder: LaidOut) -> list[str]:
    """What it would not start with, or read otherwise than sentence-transformers; empty where it reads the folder as it is meant.

    Args:
        folder: A folder whose architecture it has.
    """
    config, found = folder.config, []
    missing = [key for key in REQUIRED[folder.architecture].split() if key not in config]
    missing += [] if config.get("architectures") else ["architectures"]
    if missing:
        found.append(f"it does not start without {', '.join(missing)} in config.json")
    if not folder.tokenizer:
        found.append("it does not start without tokenizer.json")
    return [*found, *_pooling(folder), *_length(folder), *_dense(folder), *_layers(config)]


def remarks(folder: LaidOut) -> list[str]:
    """What to know where it reads the folder as it is meant.

    Args:
        folder: The folder.
    """
    found = []
    if folder.architecture in CUDA_ONLY:
        found.append("on CUDA alone")
    if "gelu" in (folder.config.get("hidden_act"), folder.config.get("hidden_activation")):
        found.append("its GELU is the tanh approximation")
    if any(folder.means.prompts.values()):
        found.append("prompts by prompt_name")
    return found


def _pooling(folder: LaidOut) -> list[str]:
    config = folder.pooling
    if config is None and "bert" in folder.architecture:  # it warns
        return [] if folder.means.pooling == "cls" else [f"its pooling is cls, not {folder.means.pooling}"]
    config = config or {}
    missing = [key for key in ("pooling_mode_cls_token", "pooling_mode_mean_tokens") if key not in config]
    if missing:
        return [f"it does not start without {' and '.join(missing)} in 1_Pooling/config.json"]
    modes = (
        ("cls", "pooling_mode_cls_token"),
        ("mean", "pooling_mode_mean_tokens"),
        ("last_token", "pooling_mode_lasttoken"),
    )
    read = next((mode for mode, key in modes if config.get(key)), "none")
    return [] if read == folder.means.pooling else [f"its pooling is {read}, not {folder.means.pooling}"]


def _length(folder: LaidOut) -> list[str]:
    found = ["it does not lower-case texts"] if folder.means.lowercase else []
    if folder.body is not None:
        if not isinstance(folder.body.get("max_seq_length"), int):
            found.append("it does not start without max_seq_length in sentence_bert_config.json")
        return found
    positions = folder.config.get("max_position_embeddings")
    if positions and folder.length not in (None, positions):
        found.append(f"it cuts texts at {positions:,} tokens, not {folder.length:,}")
    return found


def _dense(folder: LaidOut) -> list[str]:
    if not folder.dense:
        return []
    if any(module["type"] not in NAMED for module in folder.modules):
        return ["it leaves out the Dense layers, for it knows the modules by other names"]
    found = dense_out_of_order(folder.kinds)
    for path, config in folder.dense:
        if config.get("activation_function") not in ACTIVATIONS:
            found.append(f"it does not know the activation of {path}, {config['activation_function']}")
    return found


def _layers(config: Mapping[str, Any]) -> list[str]:
    """Which of ModernBERT's layers see the whole text: it takes every n-th, from the first on."""
    every, layers = config.get("global_attn_every_n_layers"), config.get("layer_types")
    if config["model_type"] != "modernbert" or not every or not layers:
        return []
    taken = [kind == "full_attention" for kind in layers] == [number % every == 0 for number in range(len(layers))]
    return [] if taken else [f"it takes layers 0, {every}, {2 * every} ... for those of global attention"]
