"""Every benchmark against sentence-transformers in one run: a table, a JSON file with versions and machine, and two figures.

python benchmarks/all.py                     # all of it, on a machine that does nothing else
python benchmarks/all.py --quick             # smaller sizes, without what takes long
python benchmarks/all.py --docs              # also puts tables and figures into docs/performance.md and docs/images
python benchmarks/all.py --only encoding     # measures one part anew; what --out holds of the others is kept
python benchmarks/all.py --only --docs       # measures nothing, and puts what --out holds into the documents
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
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
from lightning_embed.evaluation.reports.plots import figure_style, png

MARK = ("<!-- {} -->", "<!-- /{} -->")
Measured = dict[str, Any]
"""Part -> what it gave, in JSON: for those of the table a list of `Ratio`."""


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
    work = f"InfoNCE loss alone, {size:,} x {dim}, against the plain formula"
    return [Ratio(work, naive["seconds"] / ours["seconds"], ours["mb"] / max(1.0, naive["mb"]), told, "1 at 0.05")]


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


def _trained(name: str, quick: bool) -> list[Ratio]:
    return [training.ratio(*training.jobs(quick)[name])]


RATIOS: dict[str, Callable[[bool], list[Ratio]]] = {
    **{name: partial(_trained, name) for name in training.jobs(True)},
    "encoding": encoding.rows,
    "loss": loss_rows,
    "loader": data_rows,
}
"""Parts that are rows of one table."""
TABLES: dict[str, Any] = {"overhead": overhead, "startup": startup, "growth": growth}
"""Parts with a table of their own."""
PARTS = (*RATIOS, *TABLES)
QUICK = ("distillation", "infonce", "encoding", "loss", "loader")
"""Parts that are measured in a quick run, unless others are asked for: those that start few processes."""


def bars(rows: list[Ratio], file: Path) -> None:
    """How many times as fast, as bars.

    Args:
        rows: What was measured.
        file: A .png file.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    rows = rows[::-1]
    with figure_style():
        drawing = Figure(figsize=(9, 0.42 * len(rows) + 1.3), layout="constrained")
        axis = drawing.subplots()
        drawn = axis.barh(
            [row.work for row in rows], [row.time for row in rows], height=0.62, color=growth.COLOURS["ours"]
        )
        axis.bar_label(drawn, fmt="%.3g", padding=4, weight="bold", color=growth.COLOURS["ours"])
        axis.axvline(1, color=growth.COLOURS["sentence-transformers"], lw=1.4, ls=(0, (5, 3)))
        axis.margins(x=0.08, y=0.03)
        axis.grid(axis="y", visible=False)
        axis.tick_params(axis="y", length=0)
        axis.spines["left"].set_visible(False)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        title = "Times as fast as sentence-transformers, or as what the name says"
        drawing.suptitle(title, x=0.01, ha="left", size=12.5, weight="bold")
        drawing.get_layout_engine().set(h_pad=0.12)
        axis.set_xlabel("times as fast (dashed: equally fast)")
    file.write_bytes(png(drawing))


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


def kept(file: Path, quick: bool) -> Measured:
    """What an earlier run of the same sizes measured.

    Args:
        file: Its JSON file.
        quick: Which sizes.
    """
    try:
        found: dict[str, Any] = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return found.get("parts", {}) if found.get("quick") == quick else {}


def texts_of(found: Measured, about: dict[str, Any], quick: bool) -> dict[str, str]:
    """Name of a place in the document -> what is to stand there.

    Args:
        found: What was measured.
        about: The machine.
        quick: Which sizes.
    """
    rows = [Ratio(**row) for name in RATIOS for row in found.get(name, ())]
    texts = {"ratios": table(rows)} if rows else {}
    texts |= {name: part.table(found[name]) for name, part in TABLES.items() if name in found}
    versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items())
    sizes = "small sizes (`QUICK=1`)" if quick else "full sizes"
    texts["machine"] = f"{about['cpu']}, {about['cores']} cores, {sizes}; {versions}."
    return texts


def draw(found: Measured, folder: Path) -> None:
    """Draws the figures of what was measured.

    Args:
        found: What was measured.
        folder: Where to.
    """
    rows = [Ratio(**row) for name in RATIOS for row in found.get(name, ())]
    if rows:
        bars(rows, folder / "performance.png")
    if "growth" in found:
        growth.figure(found["growth"], folder / "growth.png")


def main() -> None:
    """Measures the parts, one after the other, and writes after each what there is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=f"smaller sizes, and of the parts only {', '.join(QUICK)}")
    parser.add_argument("--docs", action="store_true", help="also write docs/performance.md's tables and figures")
    parser.add_argument("--only", choices=PARTS, nargs="*", help="these parts")
    parser.add_argument("--out", type=Path, default=Path("runs/bench"), help="folder of the results")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    start, about, file = time.perf_counter(), machine(), asked.out / "bench.json"
    found = {} if asked.only is None else kept(file, asked.quick)
    for name in asked.only if asked.only is not None else QUICK if asked.quick else PARTS:
        measured = RATIOS[name](asked.quick) if name in RATIOS else TABLES[name].rows(asked.quick)
        found[name] = [asdict(row) for row in measured] if name in RATIOS else measured
        texts = texts_of(found, about, asked.quick)
        print(texts["ratios" if name in RATIOS else name], flush=True)
        file.write_text(json.dumps(about | {"quick": asked.quick, "parts": found}, indent=1) + "\n")
        (asked.out / "bench.md").write_text("\n\n".join(texts.values()) + "\n")
    draw(found, asked.out)
    if asked.docs:
        draw(found, DOCS / "images")
        shown = {"ratios": "![times as fast](images/performance.png)", "growth": "![seconds a step](images/growth.png)"}
        for name, text in texts_of(found, about, asked.quick).items():
            put(DOCS / "performance.md", name, f"{text}\n\n{shown[name]}" if name in shown else text)
    print(f"{(time.perf_counter() - start) / 60:.1f} minutes -> {asked.out}")


if __name__ == "__main__":
    main()
