"""Every benchmark against sentence-transformers in one run: a table, a JSON file with versions and machine, and two figures.

python benchmarks/all.py                    # all of it, on a machine that does nothing else
python benchmarks/all.py --quick            # smaller sizes; about two minutes on 2 quiet cores
python benchmarks/all.py --docs             # also puts tables and figures into docs/performance.md and docs/images
python benchmarks/all.py --only training    # one part
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import data
import encoding
import growth
import overhead
import startup
import training
from common import DOCS, MODEL, Ratio, machine, table

import losses

PARTS = ("training", "encoding", "losses", "data", "overhead", "startup", "growth")
MARK = ("<!-- {} -->", "<!-- /{} -->")


def loss_rows(quick: bool) -> list[Ratio]:
    """InfoNCE alone against the plain formula.

    Args:
        quick: A smaller matrix.
    """
    size, dim = (4096, 384) if quick else (32_768, 1024)
    ours, naive = (losses.apart("InfoNCE", version, size, dim) for version in ("ours", "naive"))
    if ours is None or naive is None:
        raise SystemExit("InfoNCE alone: out of memory")
    if abs(ours["value"] - naive["value"]) > 1e-4 * abs(naive["value"]):
        raise SystemExit(f"InfoNCE alone: the losses differ: {ours['value']} and {naive['value']}")
    told = f"{ours['seconds']:.2f} s, {ours['mb']:,.0f} MB"
    share = ours["mb"] / max(1.0, naive["mb"])
    return [
        Ratio(
            f"InfoNCE loss alone, {size:,} x {dim}, against the plain formula",
            naive["seconds"] / ours["seconds"],
            share,
            told,
            "1 at 0.05",
        )
    ]


def data_rows(quick: bool) -> list[Ratio]:
    """The loader alone.

    Args:
        quick: Fewer rows.
    """
    from lightning_embed import TextEncoder

    count, rounds = (400, 1) if quick else (4_000, 3)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pairs.jsonl"
        data.write_pairs(None, count, file)
        encoder = TextEncoder(MODEL, max_length=data.MAX_LENGTH)
        mine, cached, other = data.loader(file, encoder, count // data.BATCH, rounds).values()
    return [
        Ratio("data loader alone", mine / other, None, f"{mine:,.0f} tokens/s", "5"),
        Ratio("data loader, tokens cached", cached / other, None, f"{cached:,.0f} tokens/s", "50"),
    ]


def bars(rows: list[Ratio], file: Path) -> None:
    """How many times as fast, as bars.

    Args:
        rows: What was measured.
        file: A .png file.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    drawing, axis = plt.subplots(figsize=(9, 0.5 * len(rows) + 1), layout="constrained")
    names = [row.work for row in rows][::-1]
    shown = axis.barh(names, [row.time for row in rows][::-1], color="#1f5fa8")
    axis.bar_label(shown, fmt="%.1f", padding=3)
    axis.axvline(1, color="grey", linewidth=1)
    axis.set_xlabel("times as fast as sentence-transformers, or as what the name says")
    drawing.savefig(file, dpi=130)
    plt.close(drawing)


def put(document: Path, name: str, text: str) -> None:
    """Replaces what stands between the marks of a name in a document.

    Args:
        document: A Markdown file with the marks `<!-- name -->` and `<!-- /name -->`.
        name: Which marks.
        text: What is to stand there.
    """
    old = document.read_text()
    first, last = (mark.format(name) for mark in MARK)
    before, rest = old.split(first, 1)
    after = rest.split(last, 1)[1]
    document.write_text(f"{before}{first}\n{text}\n{last}{after}")


def main() -> None:
    """Runs the parts and writes what they gave."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="smaller sizes")
    parser.add_argument("--docs", action="store_true", help="also write docs/performance.md's tables and figures")
    parser.add_argument("--only", choices=PARTS, nargs="+", default=PARTS, help="some parts")
    parser.add_argument("--out", type=Path, default=Path("runs/bench"), help="folder of the results")
    asked = parser.parse_args()
    os.environ["TOKENIZERS_PARALLELISM"] = "false" if asked.quick else os.environ.get("TOKENIZERS_PARALLELISM", "true")
    asked.out.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    about = machine()
    ratios: list[Ratio] = []
    measured: dict[str, Callable[[bool], list[Ratio]]] = {
        "training": training.rows, "encoding": encoding.rows, "losses": loss_rows, "data": data_rows,
    }  # fmt: skip
    for name, rows in measured.items():
        if name in asked.only:
            ratios += rows(asked.quick)
            print(table(ratios[-1:]) if len(ratios) == 1 else table(ratios), flush=True)
    result: dict[str, Any] = about | {"quick": asked.quick, "ratios": [asdict(row) for row in ratios]}
    texts = {"ratios": table(ratios)} if ratios else {}
    others: dict[str, Any] = {"overhead": overhead, "startup": startup, "growth": growth}
    for name, part in others.items():
        if name in asked.only:
            result[name] = part.rows(asked.quick)
            texts[name] = part.table(result[name])
            print(texts[name], flush=True)
    result["minutes"] = (time.perf_counter() - start) / 60
    sizes = "small sizes (`QUICK=1`)" if asked.quick else "full sizes"
    versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items())
    texts["machine"] = (
        f"{about['cpu']}, {about['cores']} cores, {sizes}, load {about['load']:.1f} at the start; {versions}."
    )
    (asked.out / "bench.json").write_text(json.dumps(result, indent=1) + "\n")
    (asked.out / "bench.md").write_text("\n\n".join(texts.values()) + "\n")
    for folder in [asked.out] + [DOCS / "images"] * asked.docs:
        if ratios:
            bars(ratios, folder / "performance.png")
        if "growth" in result:
            growth.figure(result["growth"], folder / "growth.png")
    if asked.docs:
        shown = {"ratios": "![times as fast](images/performance.png)", "growth": "![seconds a step](images/growth.png)"}
        for name, text in texts.items():
            put(DOCS / "performance.md", name, f"{text}\n\n{shown[name]}" if name in shown else text)
    print(f"{texts['machine']} {result['minutes']:.1f} minutes -> {asked.out}")


if __name__ == "__main__":
    main()
