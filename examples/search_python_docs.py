"""Searches this machine's Python documentation: python examples/search_python_docs.py "eigenvalues of a symmetric matrix"

Uses the model that `python -m lightning_embed fit` left in runs/run/model, or the folder given as the second argument. The first
search embeds all docstrings (a minute or two) and stores the index next to the model; later ones are fast.
"""

import sys
from pathlib import Path

import faiss
import pyarrow as pa
import pyarrow.parquet as pq
from sentence_transformers import SentenceTransformer

from lightning_embed.datamodules.docstrings import SPLITS, build


def open_index(model: SentenceTransformer, texts: list[str], file: Path) -> faiss.Index:
    """The index of the texts' vectors, read from its file or built.

    Args:
        model: The encoder.
        texts: The documents.
        file: Where the index is stored.
    """
    if file.exists():
        index = faiss.read_index(str(file))
        if index.ntotal == len(texts):
            return index
    vectors = model.encode_document(texts, show_progress_bar=True)
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    faiss.write_index(index, str(file))
    return index


def main() -> None:
    """Prints the five docstrings that match the question best."""
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    folder = Path(sys.argv[2] if len(sys.argv) > 2 else "runs/run/model")
    if not folder.is_dir():
        sys.exit(f"there is no model in {folder}: run `python -m lightning_embed fit` first")
    docs = build()
    rows = pa.concat_tables([pq.read_table(docs / f"{split}.parquet") for split in SPLITS]).to_pylist()
    model = SentenceTransformer(str(folder))
    index = open_index(model, [f"{row['anchor']} {row['positive']}" for row in rows], folder / "python-docs.faiss")
    scores, found = index.search(model.encode_query([sys.argv[1]]), 5)
    for score, place in zip(scores[0], found[0], strict=True):
        print(f"{score:.2f}  {rows[place]['name']}\n      {rows[place]['anchor']}")


if __name__ == "__main__":
    main()
