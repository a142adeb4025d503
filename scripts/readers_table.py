"""Prints the table of docs/serving.md: which reader gives an exported folder's vectors, by family and pooling.

    PYTHONPATH=. python scripts/readers_table.py

Each cell comes from a toy of the family, exported as any model is, and from the reader's rules (lightning_embed/export/readers). RUN lists
what was run as well, and compared with sentence-transformers; it is kept by hand.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning_embed import TextEncoder
from lightning_embed.export.folder import export_encoder
from lightning_embed.export.readers import infinity, llama_cpp, ollama, openvino, transformers_js, vllm
from lightning_embed.export.readers import text_embeddings_inference as tei
from lightning_embed.export.readers.laid_out import LaidOut, read_folder
from tests.toys import FAMILIES, toy_folder

READERS: dict[str, Any] = {
    "TEI": tei,
    "vLLM": vllm,
    "llama.cpp": llama_cpp,
    "Ollama": ollama,
    "Infinity": infinity,
    "transformers.js": transformers_js,
    "OpenVINO": openvino,
}
POOLINGS = ("mean", "cls", "last_token")
RUN: dict[str, set[str]] = {
    "llama.cpp": {f"bert {p}" for p in POOLINGS}
    | {f"{f} {p}" for f in ("roberta", "qwen3", "llama") for p in POOLINGS[:2]},
}
"""Reader -> families and poolings whose least cosine with sentence-transformers' vectors was above 0.9999."""


def table(families: Sequence[str] = FAMILIES) -> list[str]:
    """The rows of the table, in Markdown, without its head; then an empty line and the reasons.

    Args:
        families: Of tests/toys.py.
    """
    reasons: dict[str, None] = {}
    rows = []
    for family in families:
        for pooling in POOLINGS:
            with tempfile.TemporaryDirectory() as scratch:
                folder = _exported(Path(scratch), family, pooling)
                cells = [_cell(name, folder, f"{family} {pooling}", reasons) for name in READERS]
            rows.append(f"| {family}, {pooling} | {' | '.join(cells)} |")
    return [*rows, "", *(f"- {reason}" for reason in reasons)]


def _exported(scratch: Path, family: str, pooling: Any) -> LaidOut:
    encoder = TextEncoder(str(toy_folder(scratch / "toy", family)), pooling=pooling).eval()
    export_encoder(encoder, scratch / "out")
    graph = scratch / "out" / transformers_js.GRAPH
    graph.parent.mkdir()
    graph.touch()  # the rules ask whether it is there; export --onnx true takes seconds to write it
    return read_folder(scratch / "out")


def _cell(name: str, folder: LaidOut, row: str, reasons: dict[str, None]) -> str:
    reader = READERS[name]
    why = [reader.refuses(folder)] if reader.refuses(folder) else reader.differences(folder)
    if why:
        reasons.update(dict.fromkeys(f"{name}: {reason}" for reason in why))
        return "no"
    return "equal (run)" if row in RUN.get(name, ()) else "by rules"


if __name__ == "__main__":
    print("\n".join([f"| | {' | '.join(READERS)} |", f"|---|{'---|' * len(READERS)}", *table()]))
