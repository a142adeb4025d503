"""An exported folder's model as ONNX, in float32 and int8, by torch's own exporter."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lightning_embed.encoders.text_encoder import TextEncoder
from lightning_embed.errors import UserError, first_line
from lightning_embed.export.folder import LEAST_COSINE, run_new
from lightning_embed.heads import normalize, pool
from lightning_embed.utils.quiet import quiet

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
LEAST_COSINE_INT8 = 0.9
"""Below this an int8 graph counts as broken; above it, what it costs is reported for the user to judge."""
FLOAT, INT8 = "onnx/model.onnx", "onnx/model_quantized.onnx"
"""Where transformers.js looks for its dtypes fp32 and q8, and sentence-transformers' ONNX backend for the first."""


def require_onnx() -> None:
    """Raises `UserError` unless the packages that write and run ONNX are there."""
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise UserError(f"onnx: needs {', '.join(missing)}, not installed here; pip install {' '.join(PACKAGES)}")


class _Graph(nn.Module):
    """Ids and mask in; the backbone's hidden states and the unit sentence vector out."""

    def __init__(self, encoder: TextEncoder) -> None:
        super().__init__()
        self.backbone, self.pooling, self.dim = encoder.backbone, encoder.pooling, encoder.dim
        self.token_heads, self.heads = encoder.token_heads, encoder.heads

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        states = self.backbone(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        hidden = self.token_heads(states)
        lengths = attention_mask.sum(dim=1)
        if (
            self.pooling == "last_token"
        ):  # by a mask: the exporter would fix the number of rows that indices are made for
            place = torch.arange(hidden.shape[1], device=hidden.device)[None, :]
            pooled = (hidden * (place == lengths[:, None] - 1)[..., None]).sum(dim=1)
        else:
            pooled = pool(hidden, lengths, self.pooling)
        return states, normalize(self.heads(pooled)[:, : self.dim].float())


def export_onnx(encoder: TextEncoder, folder: Path) -> None:
    """Writes onnx/model.onnx and onnx/model_quantized.onnx into an exported folder.

    Inputs `input_ids` and `attention_mask` (batch, tokens), outputs `last_hidden_state` (the backbone's, for readers that pool by
    themselves) and `sentence_embedding` (pooled, through all heads, of unit length). int8: weights of the linear layers, by
    onnxruntime's dynamic quantisation.

    Args:
        encoder: What was exported, on the CPU.
        folder: Where.

    Raises:
        UserError: The exporter cannot do this backbone.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    (folder / "onnx").mkdir()
    ids = torch.randint(5, 10, (2, 7))
    sizes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("tokens")}
    try:
        with torch.no_grad(), quiet(loggers=["torch.onnx"]):
            warnings.simplefilter("ignore")
            program: Any = torch.onnx.export(
                _Graph(encoder).eval(),
                (ids, torch.ones_like(ids)),
                dynamo=True,
                verbose=False,
                input_names=["input_ids", "attention_mask"],
                output_names=["last_hidden_state", "sentence_embedding"],
                dynamic_shapes={"input_ids": sizes, "attention_mask": sizes},
            )
        program.save(str(folder / FLOAT), external_data=False)
        quantize_dynamic(str(folder / FLOAT), str(folder / INT8), weight_type=QuantType.QInt8, per_channel=True)
    except Exception as error:  # the exporter raises whatever the backbone's code made it stumble on
        reason = first_line(error, 200)
        raise UserError(f"onnx: torch's exporter cannot do this backbone ({reason})") from None


def limits(encoder: TextEncoder) -> list[str]:
    """What to know where the graphs' `last_hidden_state` is pooled by the reader; mostly nothing.

    Args:
        encoder: What was exported.
    """
    why = []
    if encoder.dim < encoder.width or len(encoder.heads) or len(encoder.token_heads):
        why.append(f"it does without the Dense layers and gives {encoder.config.hidden_size} dims")
    if encoder.pooling == "last_token":
        why.append("of a batch it takes the last position, which is padding in shorter texts")
    if not why:
        return []
    return [
        f"Read the graphs' `sentence_embedding`, of {encoder.dim} dims: a pipeline that pools `last_hidden_state` by itself, as "
        f"transformers.js's feature-extraction does, gives other vectors ({', and '.join(why)})."
    ]


_LOAD = """
import json, sys
import numpy as np
import onnxruntime
from tokenizers import Tokenizer
folder, found, graph, prompts, length = sys.argv[1:]
tokenizer = Tokenizer.from_file(folder + "/tokenizer.json")
tokenizer.enable_truncation(int(length))
tokenizer.enable_padding()
session = onnxruntime.InferenceSession(folder + "/" + graph, providers=["CPUExecutionProvider"])
texts, result = json.load(sys.stdin), {}
for role, prompt in json.loads(prompts).items():
    parts = []
    for start in range(0, len(texts), 16):
        encoded = tokenizer.encode_batch([prompt + text for text in texts[start:start + 16]])
        ids = np.array([e.ids for e in encoded], dtype=np.int64)
        mask = np.array([e.attention_mask for e in encoded], dtype=np.int64)
        parts.append(session.run(["sentence_embedding"], {"input_ids": ids, "attention_mask": mask})[0])
    result[role] = np.concatenate(parts)
np.savez(found, **result)
"""


def verify_onnx(
    encoder: TextEncoder, folder: Path, texts: Sequence[str], expected: Mapping[str, np.ndarray]
) -> dict[str, float]:
    """Runs both graphs in a new process, without torch; file -> least cosine over texts and roles.

    Args:
        encoder: What was exported.
        folder: Where.
        texts: n texts.
        expected: `query` and `document` -> (n, D) unit vectors.

    Raises:
        UserError: A graph does not run, or its vectors differ (float32: cosine ≤ 0.9999; int8: ≤ 0.9).
    """
    words = [
        json.dumps({role: encoder.tokenizer.prompts.get(role, "") for role in expected}),
        str(encoder.tokenizer.max_length),
    ]
    return {
        graph: run_new(_LOAD, folder, texts, expected, [graph, *words], bound, graph)
        for graph, bound in ((FLOAT, LEAST_COSINE), (INT8, LEAST_COSINE_INT8))
    }
