"""Training steps on a GPU: tokens a second, share of the chip's peak, peak memory; packed, padded, compiled, and sentence-transformers.

    make bench-gpu                                # on a machine with CUDA
    python -m benchmarks.gpu --out runs/gpu        # the same
    python -m benchmarks.gpu --toy                # everything at toy size on a CPU: shows that the script runs, and nothing else

Random weights of the real shapes of Qwen3-0.6B and EuroBERT-210m, AdamW, bf16 autocast. A batch has texts of an eighth of the length
to the whole of it, in as many tokens as fit (16,384; at 32,768 tokens one text). All sides have the very same weights and get the
same tokens, in turn, A B A B; their vectors are held against each other first. What runs out of memory says so, and the rest goes on.

So far it has been run at toy size alone, on a CPU: no figure of a GPU stands anywhere.
"""

import argparse
import copy
import gc
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.gpu_models import SHAPES, Shape, peak_of, write_model
from lightning_embed.batch import Tokens
from lightning_embed.cli.parser import fail
from lightning_embed.encoders.backbone import checkpoint_each_layer, layer_list
from lightning_embed.encoders.text_encoder import TextEncoder
from lightning_embed.heads import normalize

LENGTHS, BATCH_TOKENS, ROUNDS = (512, 4_096, 32_768), 16_384, 5
TOY_LENGTHS, TOY_TOKENS, TOY_ROUNDS = (16, 32, 64), 128, 2
LEAST_COSINE = 0.99
PACKED, PADDED, OTHER = "packed", "padded", "sentence-transformers"
COMPILED, AGAIN = "packed, compiled", "packed, checkpoint_layers"
Side = Callable[[Tokens], Tensor]


def batch_lengths(longest: int, tokens: int) -> list[int]:
    """Lengths from an eighth of the longest to the longest, the latter first, of so many tokens together.

    Args:
        longest: Tokens of the longest text.
        tokens: Tokens of the batch; a single text may exceed it.
    """
    parts, lengths = (8, 1, 5, 3, 7, 2, 6, 4), []
    while not lengths or sum(lengths) + longest * parts[len(lengths) % 8] // 8 <= tokens:
        lengths.append(max(1, longest * parts[len(lengths) % 8] // 8))
    return lengths


def tokens_of(lengths: list[int], vocabulary: int, device: torch.device) -> Tokens:
    """Random tokens of these lengths."""
    ids = torch.randint(4, vocabulary, (sum(lengths),), generator=torch.Generator().manual_seed(1))
    return Tokens(ids.to(device), torch.tensor(lengths))


class SentenceTransformers(nn.Module):
    """The same model in sentence-transformers, which pads a batch to its longest text; it is given tokens."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        super().__init__()
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

        transformer = Transformer(str(folder))
        pooling = Pooling(transformer.get_embedding_dimension(), "lasttoken")
        self.model = SentenceTransformer(modules=[transformer, pooling], device=str(device)).train()

    def forward(self, tokens: Tokens) -> Tensor:
        """(n, D) vectors."""
        ids = nn.utils.rnn.pad_sequence(list(tokens.ids.split(tokens.lengths.tolist())), batch_first=True)
        place = torch.arange(ids.shape[1], device=ids.device)
        mask = (place < tokens.lengths.to(ids.device)[:, None]).long()
        vectors: Tensor = self.model({"input_ids": ids, "attention_mask": mask})["sentence_embedding"]
        return vectors


def twin(encoder: TextEncoder, packing: Any) -> TextEncoder:
    """An encoder with the very same weights (not copies) that packs or pads."""
    memo: dict[int, Any] = {id(p): p for p in encoder.parameters()} | {id(encoder.tokenizer): encoder.tokenizer}
    made = copy.deepcopy(encoder, memo)
    made.packing, made.proven = packing, encoder.proven  # that packing changes nothing is shown once
    return made


def sides(folder: Path, device: torch.device, toy: bool) -> dict[str, nn.Module]:
    """All that are measured, over one set of weights."""
    packed = TextEncoder(str(folder), "last_token", packing="on", max_tokens=2 * BATCH_TOKENS).to(device).train()
    compiled, again, other = twin(packed, "on"), twin(packed, "on"), SentenceTransformers(folder, device)
    for layer in layer_list(compiled.backbone)[1]:
        layer.compile(dynamic=True, backend="eager" if toy else "inductor")
    checkpoint_each_layer(again.backbone, "again")
    own = dict(packed.backbone.named_parameters())
    backbone = next(module for module in other.modules() if type(module) is type(packed.backbone))
    for name, module in backbone.named_modules():
        for key in list(module._parameters):
            if module._parameters[key] is not None:
                module._parameters[key] = own[f"{name}.{key}".removeprefix(".")]
    return {PACKED: packed, PADDED: twin(packed, "off"), OTHER: other, COMPILED: compiled, AGAIN: again}


def autocast(device: torch.device) -> torch.autocast:
    """bf16 on a GPU, nothing on a CPU."""
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")


def seconds(device: torch.device, work: Callable[[], Any]) -> float:
    """How long some work takes."""
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    wait()
    start = time.perf_counter()
    work()
    wait()
    return time.perf_counter() - start


def step(side: nn.Module, tokens: Tokens, optimizer: torch.optim.Optimizer, device: torch.device) -> None:
    """A training step: forward, backward, AdamW."""
    optimizer.zero_grad()
    with autocast(device):
        vectors = normalize(side(tokens).float())
    (vectors * torch.linspace(-1, 1, vectors.shape[1], device=device)).sum().backward()
    optimizer.step()


def attempt(work: Callable[[], Any], device: torch.device) -> tuple[Any, str]:
    """What some work gives, or in one line why it gives nothing."""
    try:
        return work(), ""
    except torch.OutOfMemoryError:
        said = "out of memory"
    except Exception as error:  # a kernel or a compiler that this machine does not have: its cell says so
        said = f"failed: {' '.join(str(error).split())[:120] or type(error).__name__}"
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return None, said


def measure(
    models: dict[str, nn.Module],
    shape: Shape,
    lengths: list[int],
    rounds: int,
    device: torch.device,
    peak: float | None,
) -> dict[str, dict[str, Any]]:
    """A cell for each side: seconds, tokens/s, share of the peak, memory, least cosine to the padded side; or why there are none."""
    tokens = tokens_of(lengths, shape.vocabulary, device)
    optimizer = torch.optim.AdamW(models[PACKED].parameters(), lr=1e-6, fused=True)
    cells: dict[str, dict[str, Any]] = {name: {} for name in models}

    def embed(side: nn.Module) -> Tensor:
        with torch.no_grad(), autocast(device):
            return normalize(side(tokens).float()).cpu()

    reference, _ = attempt(lambda: embed(models[PADDED]), device)
    for name, side in models.items():
        vectors, said = attempt(lambda side=side: embed(side), device)
        if not said and reference is not None:
            cells[name]["least_cosine"] = float((vectors * reference).sum(-1).min())
            if cells[name]["least_cosine"] < LEAST_COSINE:
                said = f"vectors differ (cosine {cells[name]['least_cosine']:.4f})"
        cells[name]["said"] = said or attempt(lambda side=side: step(side, tokens, optimizer, device), device)[1]
    times: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(rounds):
        for name, side in models.items():
            if cells[name]["said"]:
                continue
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats()
            work = lambda side=side: step(side, tokens, optimizer, device)  # noqa: E731
            taken, cells[name]["said"] = attempt(lambda work=work: seconds(device, work), device)
            if taken is not None:
                times[name].append(taken)
                cells[name]["peak_gb"] = torch.cuda.max_memory_allocated() / 1e9 if device.type == "cuda" else None
    for name, cell in cells.items():
        if not cell["said"]:
            cell["seconds"] = statistics.median(times[name])
            cell["tokens_per_s"] = sum(lengths) / cell["seconds"]
            cell["share_of_peak"] = shape.flops(lengths) / cell["seconds"] / peak if peak else None
    for cell in cells.values():
        base = cells[OTHER].get("tokens_per_s")
        cell["against_sentence_transformers"] = cell["tokens_per_s"] / base if base and "tokens_per_s" in cell else None
    return cells


def printed(points: list[dict[str, Any]]) -> None:
    """The table."""
    print(f"{'model':15}{'tokens':>8}  {'':28}{'tokens/s':>12}{'of peak':>9}{'memory':>10}{'to s-t':>8}")
    for point in points:
        for name, cell in point["cells"].items():
            head = f"{point['model']:15}{point['length']:8,}  {name:28}"
            if cell["said"]:
                print(f"{head}{cell['said']}")
                continue
            share, memory, ratio = cell["share_of_peak"], cell["peak_gb"], cell["against_sentence_transformers"]
            print(
                f"{head}{cell['tokens_per_s']:12,.0f}{f'{share:.0%}' if share else '-':>9}"
                f"{f'{memory:.1f} GB' if memory else '-':>10}{f'{ratio:.2f}x' if ratio else '-':>8}"
            )


def main(arguments: list[str] | None = None) -> None:
    """Measures, prints the table, and writes gpu.json and gpu.png.

    Args:
        arguments: The command line; None: the process's own.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/gpu"), help="folder of gpu.json and gpu.png")
    parser.add_argument("--toy", action="store_true", help="toy sizes, on the CPU")
    parser.add_argument("--models", nargs="+", default=list(SHAPES), choices=list(SHAPES))
    given = parser.parse_args(arguments)
    if not given.toy and not torch.cuda.is_available():
        fail(
            "bench-gpu: a CUDA device was expected, and torch finds none; --toy runs everything at toy size on the CPU"
        )
    from benchmarks.gpu_figure import draw

    device = torch.device("cpu" if given.toy else "cuda")
    name = platform.processor() or "CPU" if given.toy else torch.cuda.get_device_name()
    peak = None if given.toy else peak_of(name)
    lengths, budget, rounds = (TOY_LENGTHS, TOY_TOKENS, TOY_ROUNDS) if given.toy else (LENGTHS, BATCH_TOKENS, ROUNDS)
    points: list[dict[str, Any]] = []
    for model in given.models:
        shape = SHAPES[model].toy() if given.toy else SHAPES[model]
        with tempfile.TemporaryDirectory() as folder:
            write_model(shape, Path(folder))
            models = sides(Path(folder), device, given.toy)
            for length in lengths:
                texts = batch_lengths(length, budget)
                cells = measure(models, shape, texts, rounds, device, peak)
                points.append({"model": model, "length": length, "texts": texts, "cells": cells})
        del models
        gc.collect()
    printed(points)
    machine = {"device": name, "peak_flops": peak, "python": platform.python_version(), "toy": given.toy}
    versions = {one: version(one) for one in ("torch", "transformers", "sentence-transformers", "lightning")}
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "gpu.json").write_text(
        json.dumps({"machine": machine, "versions": versions, "points": points}, indent=1) + "\n"
    )
    draw(points, name, given.out / "gpu.png")
    print(f"wrote {given.out / 'gpu.json'} and {given.out / 'gpu.png'}")


if __name__ == "__main__":
    main()
