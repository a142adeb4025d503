"""How many queries a second sentence-transformers folders embed on one core, one by one and in batches of 256.

python scripts/measure_queries.py queries.jsonl FOLDER ...    (a text in each line's `text`)
"""

import json
import os
import sys
import time
from pathlib import Path

BATCH = 256
SECONDS = 2.0
ROUNDS = 5


def rate(model: object, queries: list[str], batch: int) -> float:
    """Queries a second, the best of some rounds: other processes can only slow one down."""
    found = []
    for _ in range(ROUNDS):
        done, start = 0, time.perf_counter()
        while time.perf_counter() - start < SECONDS:
            some = [queries[(done + i) % len(queries)] for i in range(batch)]
            model.encode_query(some, batch_size=batch, show_progress_bar=False)  # type: ignore[attr-defined]
            done += batch
        found.append(done / (time.perf_counter() - start))
    return max(found)


def main(file: str, *folders: str) -> None:
    """Prints a line for each folder."""
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(1)
    queries = [json.loads(line)["text"] for line in Path(file).read_text("utf-8").splitlines()]
    for folder in folders:
        model = SentenceTransformer(folder, device="cpu")
        one, many = rate(model, queries, 1), rate(model, queries, BATCH)
        print(
            f"{folder}: {one:,.0f} queries/s one by one, {many:,.0f} in batches of {BATCH}, load {os.getloadavg()[0]:.1f}"
        )


if __name__ == "__main__":
    os.environ |= {"TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}
    main(*sys.argv[1:])
