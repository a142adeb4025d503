"""Toy models built in code: a tokenizer of a few words and backbones of a few thousand weights, as folders."""

from pathlib import Path

import torch

WORDS = [f"w{i}" for i in range(200)]


def toy_folder(folder: Path, family: str = "bert", hidden: int = 32, layers: int = 2, seed: int = 0) -> Path:
    """Saves a random toy model of a family and returns its folder.

    Args:
        folder: Where.
        family: `bert` or `qwen3`.
        hidden: D.
        layers: How many.
        seed: Which random weights.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import AutoModel, BertConfig, PreTrainedTokenizerFast, Qwen3Config

    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS])}
    rust = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    rust.pre_tokenizer = pre_tokenizers.Whitespace()
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "eos_token": "[SEP]"}
    if family == "bert":
        rust.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
        )
        names |= {"cls_token": "[CLS]", "sep_token": "[SEP]"}
        config = BertConfig(
            vocab_size=len(vocabulary), hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=2,
            intermediate_size=2 * hidden, max_position_embeddings=64,
        )  # fmt: skip
    else:
        config = Qwen3Config(
            vocab_size=len(vocabulary), hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=2,
            num_key_value_heads=1, head_dim=16, intermediate_size=2 * hidden, max_position_embeddings=256,
        )  # fmt: skip
    torch.manual_seed(seed)
    AutoModel.from_config(config).save_pretrained(folder)
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
