"""transformers.js's rules as of 4.3.2: it runs the graphs of `export --onnx true` by ONNX Runtime and pools by itself."""

from __future__ import annotations

from lightning_embed.encoders.pretrained import read_json
from lightning_embed.export.readers.laid_out import LaidOut

NAME = "transformers.js 4"
COMMAND = "const { sentence_embedding } = await (await AutoModel.from_pretrained('FOLDER', { dtype: 'fp32' }))(inputs)"
GRAPH = "onnx/model.onnx"
"""Its dtype fp32; its dtype q8 is onnx/model_quantized.onnx."""


def refuses(folder: LaidOut) -> str:
    """Why it does not read such a model at all; empty where it does.

    Args:
        folder: The folder.
    """
    return "" if (folder.path / GRAPH).is_file() else f"it wants {GRAPH}, which export --onnx true writes"


def differences(folder: LaidOut) -> list[str]:
    """What it would read otherwise than sentence-transformers; empty where it reads the folder as it is meant.

    Args:
        folder: A folder with graphs.
    """
    found = ["it does not lower-case texts"] if folder.means.lowercase else []
    length = read_json(folder.path / "tokenizer_config.json", {}).get("model_max_length")
    if folder.length is not None and length != folder.length:
        found.append(f"it cuts texts at {length} tokens, not {folder.length:,}")
    return found


def remarks(folder: LaidOut) -> list[str]:
    """What to know where it reads the folder as it is meant.

    Args:
        folder: The folder.
    """
    how = f"{folder.means.pooling}{', one text at a time' if folder.means.pooling == 'last_token' else ''}"
    pipeline = f"or its pipeline with pooling {how}" if not folder.dense else "its pipeline leaves out the Dense layers"
    found = [f"by sentence_embedding; {pipeline}"]
    if any(folder.means.prompts.values()):
        found.append("put the prompt before the text")
    return found
