"""What `gpu.py` measures: models of the real shapes with random weights, their FLOPs, and the chips' peaks."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12}
"""Dense bf16 FLOP/s of the SXM modules, as NVIDIA publishes them, by what stands in the device's name."""


@dataclass(frozen=True)
class Shape:
    """A backbone's sizes."""

    family: str
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocabulary: int
    rope_theta: float

    def toy(self) -> "Shape":
        """The same family, small enough for a test on a CPU."""
        return replace(
            self, hidden=32, layers=2, heads=4, kv_heads=2 if self.kv_heads < self.heads else 4, head_dim=8, intermediate=64,
            vocabulary=512,
        )  # fmt: skip

    def flops(self, lengths: list[int]) -> float:
        """FLOPs of a training step: three forwards' worth, the backward pass being two.

            6 · N · [ (2·H·A·d + 2·H·K·d + 3·H·I) · Σ l  +  c · A·d · Σ l² ]

        with N layers, H hidden, A heads and K key heads of d entries, I intermediate, l tokens of each text; c is 2, or 1 where each
        token sees only those before it. The table of tokens multiplies nothing, and norms and softmax are left out, as is usual.

        Args:
            lengths: l, padding not included.
        """
        width = self.heads * self.head_dim
        matrices = (
            2 * self.hidden * width
            + 2 * self.hidden * self.kv_heads * self.head_dim
            + 3 * self.hidden * self.intermediate
        )
        seen = (1 if self.family == "qwen3" else 2) * width * sum(length**2 for length in lengths)
        return 6.0 * self.layers * (matrices * sum(lengths) + seen)


SHAPES = {
    "Qwen3-0.6B": Shape("qwen3", 1024, 28, 16, 8, 128, 3072, 151_936, 1e6),
    "EuroBERT-210m": Shape("eurobert", 768, 12, 12, 12, 64, 3072, 128_256, 250_000.0),
}


def peak_of(name: str) -> float | None:
    """A chip's dense bf16 FLOP/s; None where it is not known.

    Args:
        name: The device's name.
    """
    return next(
        (peak for chip, peak in PEAKS.items() if chip in name and not {"PCIe", "NVL"} & set(name.split())), None
    )


def write_model(shape: Shape, folder: Path) -> None:
    """Saves a model of a shape, with random weights and a tokenizer of a few words.

    Args:
        shape: Its sizes.
        folder: Where.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import AutoConfig, AutoModel, PreTrainedTokenizerFast

    words = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "w0", "w1"])}
    rust = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    rust.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=rust, pad_token="[PAD]", unk_token="[UNK]", eos_token="[SEP]", model_max_length=32_768
    ).save_pretrained(folder)
    settings: dict[str, Any] = {
        "vocab_size": shape.vocabulary,
        "hidden_size": shape.hidden,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_dim,
        "intermediate_size": shape.intermediate,
        "max_position_embeddings": 32_768,
        "rope_parameters": {"rope_type": "default", "rope_theta": shape.rope_theta},
        "pad_token_id": 0,
        "bos_token_id": 2,
        "eos_token_id": 3,
    }
    torch.manual_seed(0)
    config = AutoConfig.for_model(shape.family, **settings)
    config.use_cache = False
    AutoModel.from_config(config).save_pretrained(folder)
