"""Time and peak memory of each loss, forward and backward, against the plain formula and against sentence-transformers' own.

    python benchmarks/losses.py            # B = 1,024, 8,192, 32,768; about twelve minutes on 2 cores
    python benchmarks/losses.py --quick    # B = 1,024

Each measurement is a process of its own; ours and the other run in turn, so a ratio is of one run on one machine.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_embed.losses import (
    cosent,
    global_orthogonal,
    info_nce,
    relational,
    score_distillation,
    sign_similarity_error,
    uniformity,
)

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def cosines(a: Tensor, b: Tensor) -> Tensor:
    """(B, B) all cosines, whole in memory."""
    return F.normalize(a, dim=-1) @ F.normalize(b, dim=-1).T


def off_diagonal(matrix: Tensor) -> Tensor:
    """The entries i ≠ j."""
    return matrix[~torch.eye(len(matrix), dtype=torch.bool)]


def paired(a: Tensor, b: Tensor) -> Tensor:
    """(B,) the cosine of each pair."""
    return F.cosine_similarity(a, b, dim=-1)


def naive_cosent(a: Tensor, b: Tensor, score: Tensor) -> Tensor:
    """The formula over all pairs of pairs."""
    phi = paired(a, b) / 0.05
    terms = (phi[None, :] - phi[:, None]).masked_fill(score[:, None] <= score[None, :], -torch.inf).flatten()
    return torch.cat([terms.new_zeros(1), terms]).logsumexp(0)


def naive_relational(a: Tensor, b: Tensor, score: Tensor) -> Tensor:
    """Two whole distance matrices."""
    ours, theirs = 1 - cosines(a, a), 1 - cosines(b, b).detach()
    return (ours / ours.mean() - theirs / theirs.mean()).square().mean()


def naive_score(a: Tensor, b: Tensor, score: Tensor) -> Tensor:
    """Two whole softmaxed matrices."""
    ours, theirs = (cosines(x, x).div(0.02).softmax(1) for x in (a, b.detach()))
    return (ours - theirs).square().sum() / len(a)


def naive_binary(a: Tensor, b: Tensor, score: Tensor) -> Tensor:
    """The whole matrix of sign products."""
    z = F.normalize(a, dim=-1) * a.shape[1] ** 0.5
    signs = z + (((z > 0).to(z) * 2 - 1) - z).detach()
    angle = cosines(a, a).detach().clamp(-1, 1).arcsin() * (2 / torch.pi)
    return (signs @ signs.T / a.shape[1] - angle).square().mean()


class Given(nn.Module):
    """Stands in for a SentenceTransformer: the features are the vectors."""

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"sentence_embedding": features["vectors"]}


def theirs(name: str, **options: float) -> Loss:
    """A loss of sentence-transformers on given vectors."""

    def run(a: Tensor, b: Tensor, score: Tensor) -> Tensor:
        from sentence_transformers.sentence_transformer import losses

        result = getattr(losses, name)(Given(), **options)([{"vectors": a}, {"vectors": b}], score)
        return sum(result.values()) if isinstance(result, dict) else result

    return run


WORK: dict[str, dict[str, Loss]] = {
    "InfoNCE": {
        "ours": lambda a, b, s: info_nce(a, b, temperature=0.05),
        "naive": lambda a, b, s: F.cross_entropy(cosines(a, b) / 0.05, torch.arange(len(a))),
        "sentence-transformers": theirs("MultipleNegativesRankingLoss", scale=20.0),
    },
    "GOR": {
        "ours": lambda a, b, s: global_orthogonal(a) + global_orthogonal(b),
        "naive": lambda a, b, s: sum(off_diagonal(cosines(x, x)).square().mean() for x in (a, b)),
        "sentence-transformers": theirs("GlobalOrthogonalRegularizationLoss"),
    },
    "CoSENT": {
        "ours": lambda a, b, s: cosent(paired(a, b), s),
        "naive": naive_cosent,
        "sentence-transformers": theirs("CoSENTLoss"),
    },
    "ScoreDistillation": {"ours": lambda a, b, s: score_distillation(a, b), "naive": naive_score},
    "RelationalDistillation": {"ours": lambda a, b, s: relational(a, b), "naive": naive_relational},
    "BinaryRobust": {"ours": lambda a, b, s: sign_similarity_error(a), "naive": naive_binary},
    "Uniformity": {
        "ours": lambda a, b, s: uniformity(a),
        "naive": lambda a, b, s: off_diagonal((2 * cosines(a, a) - 2).mul(2).exp()).mean().log(),
    },
}


def measure(loss: str, version: str, rows: int, dim: int) -> dict[str, float]:
    """Seconds (median of 3, of 1 above 8,192 rows) and peak memory above the vectors themselves, in MB, in this process."""
    torch.manual_seed(0)
    a, b = (torch.randn(rows, dim, requires_grad=True) for _ in range(2))
    score = torch.rand(rows)
    work = WORK[loss][version]
    small = [torch.randn(8, dim, requires_grad=True) for _ in range(2)]
    work(small[0], small[1], torch.rand(8)).backward()  # imports and allocations that happen once
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = []
    for _ in range(3 if rows <= 8192 else 1):
        a.grad = b.grad = None
        start = time.perf_counter()
        value = work(a, b, score)
        value.backward()
        seconds.append(time.perf_counter() - start)
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return {"seconds": statistics.median(seconds), "mb": peak, "value": float(value), "grad": float(a.grad.norm())}


def apart(loss: str, version: str, rows: int, dim: int) -> dict[str, float] | None:
    """`measure` in a process of its own; None where that ran out of memory."""
    words = [sys.executable, __file__, "--one", loss, version, str(rows), str(dim)]
    done = subprocess.run(words, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else None


def main() -> None:
    """Prints a Markdown table of ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--one", nargs=4, metavar=("LOSS", "VERSION", "ROWS", "DIM"))
    options = parser.parse_args()
    if options.one:
        loss, version, rows, dim = options.one
        print(json.dumps(measure(loss, version, int(rows), int(dim))))
        return
    print(
        "| loss | B | D | ours: s | ours: MB | other | its time / ours | its memory / ours |\n|---|---|---|---|---|---|---|---|"
    )
    for rows, dim in [(1024, 768)] if options.quick else [(1024, 768), (8192, 768), (32768, 1024)]:
        for loss, versions in WORK.items():
            if rows > 8192 and loss not in ("InfoNCE", "GOR", "CoSENT"):
                continue
            ours = apart(loss, "ours", rows, dim)
            assert ours is not None
            for version in list(versions)[1:]:
                other = apart(loss, version, rows, dim)
                head = f"| {loss} | {rows:,} | {dim} | {ours['seconds']:.3f} | {ours['mb']:.0f} | {version} |"
                if other is None:
                    print(f"{head} out of memory | |", flush=True)
                    continue
                memory = f"{other['mb'] / max(1.0, ours['mb']):.1f}"
                print(f"{head} {other['seconds'] / ours['seconds']:.2f} | {memory} |", flush=True)


if __name__ == "__main__":
    main()
