"""Encoding with an exported model: our `TextEncoder.encode` against `SentenceTransformer.encode`, the vectors checked equal.

python benchmarks/encoding.py           # 5,000 texts
python benchmarks/encoding.py --quick   # 400
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from common import MODEL, Ratio, Turn, in_turn, mixed_texts, paired_ratio, table

SAME = 1e-5
"""The most that an entry of a unit vector may differ."""


def work(arm: str, folder: Path) -> None:
    """Encodes all texts each turn."""
    import torch

    texts = json.loads((folder / "texts.json").read_text())
    if arm == "ours":
        from lightning_embed import TextEncoder

        encode: Any = TextEncoder(str(folder / "model")).encode
    else:
        from sentence_transformers import SentenceTransformer

        model = SentenceTransformer(str(folder / "model"), device="cpu")

        def encode(some: list[str]) -> Any:
            return model.encode(some, convert_to_tensor=True)

    encode(texts[:32])
    turn = Turn()
    turn.over()
    while True:
        start = time.perf_counter()
        vectors = encode(texts)
        seconds = time.perf_counter() - start
        torch.save(vectors, folder / f"{arm}.pt")
        turn.over(seconds=seconds)


def rows(quick: bool) -> list[Ratio]:
    """The comparison.

    Args:
        quick: Fewer texts.
    """
    import torch

    from lightning_embed import TextEncoder
    from lightning_embed.export.folder import export_encoder

    count = 400 if quick else 5_000
    texts = mixed_texts(count)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "texts.json").write_text(json.dumps(texts))
        encoder = TextEncoder(MODEL, max_length=512)
        export_encoder(encoder, folder / "model")
        tokens = int(encoder.tokenizer(texts)[0].lengths.sum())
        arms = {arm: ["--arm", arm, "--folder", name] for arm in ("ours", "theirs")}
        mine, other = in_turn(__file__, arms, turns=0).values()
        a, b = (torch.load(folder / f"{arm}.pt", weights_only=True) for arm in arms)
    off = float((a - b).abs().max())
    if off > SAME:
        raise SystemExit(f"the vectors differ by {off:.1e}, so the work does")
    seconds = [[turn["seconds"] for turn in turns] for turns in (mine, other)]  # 32 texts have warmed each up
    told = f"{tokens / seconds[0][-1]:,.0f} tokens/s, {mine[-1]['mb']:,.0f} MB"
    memory = mine[-1]["mb"] / max(1.0, other[-1]["mb"])
    return [Ratio(f"encoding {count:,} texts of 8 to 512 tokens", paired_ratio(*seconds), memory, told, "1.5")]


def main() -> None:
    """Prints the table, or is one of the arms."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--arm", choices=("ours", "theirs"))
    parser.add_argument("--folder", type=Path)
    asked = parser.parse_args()
    if asked.arm:
        work(asked.arm, asked.folder)
    else:
        print(table(rows(asked.quick)))


if __name__ == "__main__":
    main()
