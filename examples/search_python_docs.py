"""Searches this machine's Python documentation: python examples/search_python_docs.py "eigenvalues of a symmetric matrix"

Uses the model that `python -m lightning_embed fit` left in runs/run/model, or the folder given as the second argument.
"""

import sys
from pathlib import Path

import faiss
import pyarrow as pa
import pyarrow.parquet as pq
from sentence_transformers import SentenceTransformer

from lightning_embed.datamodules.docstrings import build


def main() -> None:
    """Embeds the test docstrings, and prints the five that fit the question best."""
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    folder = sys.argv[2] if len(sys.argv) > 2 else "runs/run/model"
    if not Path(folder).is_dir():
        sys.exit(f"there is no model in {folder}: run `python -m lightning_embed fit` first")
    docs = build()
    rows = pa.concat_tables([pq.read_table(docs / f"{split}.parquet") for split in ("test", "validation")]).to_pylist()
    model = SentenceTransformer(folder)
    vectors = model.encode_document([row["positive"] for row in rows])
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    scores, found = index.search(model.encode_query([sys.argv[1]]), 5)
    for score, place in zip(scores[0], found[0], strict=True):
        print(f"{score:.2f}  {rows[place]['name']}\n      {rows[place]['anchor']}")


if __name__ == "__main__":
    main()
