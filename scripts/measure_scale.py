"""How long ten million rows take to start, and how much memory: python scripts/measure_scale.py [--rows 10000000]

Writes the rows as an Arrow data set (3 GB) into a temporary folder, measures in a fresh process, prints a line for each, deletes them.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FAR = 1_000_000


def write_rows(folder: Path, rows: int) -> None:
    """Saves pairs of texts of about 150 bytes as `datasets.save_to_disk` does, a million at a time.

    Args:
        folder: Where.
        rows: How many.
    """
    import pyarrow as pa

    from lightning_embed.compat.datasets import DATA_FILES, STATE

    folder.mkdir(parents=True)
    schema = pa.schema({"anchor": pa.string(), "positive": pa.string()})
    words = " ".join(f"word{i}" for i in range(19))  # 123 bytes
    names = []
    for start in range(0, rows, 1_000_000):
        names.append(f"data-{start // 1_000_000:05d}-of-{-(-rows // 1_000_000):05d}.arrow")
        with pa.OSFile(str(folder / names[-1]), "wb") as file, pa.ipc.new_stream(file, schema) as stream:
            for first in range(start, min(rows, start + 1_000_000), 1_000):
                numbers = range(first, min(rows, first + 1_000))
                columns = [[f"{kind} of row {i} {words}" for i in numbers] for kind in ("question", "answer")]
                stream.write_batch(pa.record_batch(columns, schema=schema))
    text = {"dtype": "string", "_type": "Value"}
    (folder / "dataset_info.json").write_text(json.dumps({"features": {"anchor": text, "positive": text}}))
    (folder / STATE).write_text(json.dumps({DATA_FILES: [{"filename": name} for name in names]}))


def memory() -> dict[str, float]:
    """Resident memory of this process in MB: all, and that which no file stands behind; the most there was."""
    lines = Path("/proc/self/status").read_text().splitlines()
    kb = {line.split(":")[0]: int(line.split()[1]) for line in lines if line.startswith(("VmRSS", "RssAnon"))}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"resident": kb["VmRSS"] / 1024, "without file pages": kb["RssAnon"] / 1024, "peak": peak / 1024}


def measure(folder: str, tokenizer: str) -> None:
    """Prints what it takes to open the rows, read the first batch and go to step 1,000,000.

    Args:
        folder: The data set.
        tokenizer: A model folder with a tokenizer.
    """
    from lightning_embed.datamodules import EmbeddingDataModule, Source
    from lightning_embed.tokenizer import TextTokenizer

    student = TextTokenizer(Path(tokenizer), {}, 32, False)

    def said(what: str, since: float) -> None:
        seconds = time.perf_counter() - since
        print(f"{what:44}{seconds:8.2f} s  " + "  ".join(f"{k} {v:,.0f} MB" for k, v in memory().items()), flush=True)

    start = time.perf_counter()
    said("libraries loaded", start)
    data = EmbeddingDataModule([Source(folder)], global_batch_size=64, num_workers=0)
    data.tokenizers = {"student": student}
    plan = data.plan
    said("rows opened, checked and planned", start)
    steps = data.train_dataloader()
    next(iter(steps))
    said("first batch", start)
    for step in (10, FAR):
        since = time.perf_counter()
        for k in range(step, step + 20):
            steps.dataset[k]
        said(f"20 steps from step {step:,} of {len(plan):,} an epoch", since)
    rows = data.rows("train")[0]
    since = time.perf_counter()
    for k in range(200):
        rows.take(plan[5_000 + k].rows.tolist())
    said(f"{200 * 64 / (time.perf_counter() - since):,.0f} random rows a second", since)


def main() -> None:
    """Makes the rows, measures in a fresh process, deletes them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--folder", help="where the rows are, or are to be, kept; default: a temporary folder")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--tokenizer", help="a model folder; default: a toy")
    given = parser.parse_args()
    if given.measure:
        measure(given.measure, given.tokenizer)
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(given.folder or scratch) / "rows"
        if not folder.exists():
            write_rows(folder, given.rows)
        sys.path.insert(0, str(Path(__file__).parents[1]))
        from tests.toys import toy_folder

        tokenizer = given.tokenizer or str(toy_folder(Path(scratch) / "toy"))
        subprocess.run([sys.executable, __file__, "--measure", str(folder), "--tokenizer", tokenizer], check=True)


if __name__ == "__main__":
    main()
