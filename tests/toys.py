"""Toy models built in code: a tokenizer of a few words and backbones of a few thousand weights, as folders."""

from pathlib import Path
from typing import Any

import torch

WORDS = [f"w{i}" for i in range(200)]
CAUSAL = ("qwen3", "llama")
FAMILIES = ("bert", "roberta", "mpnet", "modernbert", "eurobert", *CAUSAL)


def _config(family: str, vocabulary: int, hidden: int, layers: int) -> Any:
    """A tiny config of a family."""
    from transformers import AutoConfig

    sizes: dict[str, Any] = {
        "vocab_size": vocabulary,
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
        "intermediate_size": 2 * hidden,
        "max_position_embeddings": 66,
        "pad_token_id": 0,
    }
    if family in CAUSAL:
        sizes |= {"num_key_value_heads": 1, "head_dim": 16, "bos_token_id": None, "eos_token_id": 3}
    if family == "eurobert":
        sizes |= {"num_key_value_heads": 2, "bos_token_id": 2, "eos_token_id": 3}
    if family == "modernbert":
        sizes |= {"cls_token_id": 2, "sep_token_id": 3, "bos_token_id": 2, "eos_token_id": 3, "local_attention": 8}
    return AutoConfig.for_model(family, **sizes)


def toy_folder(folder: Path, family: str = "bert", hidden: int = 32, layers: int = 2, seed: int = 0) -> Path:
    """Saves a random toy model of a family and returns its folder.

    Args:
        folder: Where.
        family: `bert`, `roberta`, `mpnet`, `modernbert`, `eurobert`, `qwen3` or `llama`.
        hidden: D.
        layers: How many.
        seed: Which random weights.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import AutoModel, PreTrainedTokenizerFast

    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS])}
    rust = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    rust.pre_tokenizer = pre_tokenizers.Whitespace()
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "eos_token": "[SEP]"}
    if family not in CAUSAL:
        specials = [("[CLS]", 2), ("[SEP]", 3)]
        rust.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=specials)
        names |= {"cls_token": "[CLS]", "sep_token": "[SEP]"}
    torch.manual_seed(seed)
    AutoModel.from_config(_config(family, len(vocabulary), hidden, layers)).save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=rust, **names).save_pretrained(folder)
    return folder


def toy_pairs(rows: int) -> list[dict[str, str]]:
    """Pairs in which the positive shares words with its anchor.

    Args:
        rows: How many.
    """
    return [
        {"anchor": f"w{i % 199} w{(7 * i) % 199}", "positive": f"w{(7 * i) % 199} w{i % 199} w{(i * i) % 199} w{i % 5}"}
        for i in range(rows)
    ]
