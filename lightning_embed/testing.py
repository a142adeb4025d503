"""Proves that the number of ranks, and encoding in checkpointed chunks, change neither a loss nor its gradient.

    from lightning_embed.testing import assert_world_size_invariant
    assert_world_size_invariant(MyLoss)

A small global batch (8 rows, ragged negatives, teacher and reference vectors, scores, labels, keys) goes through a tiny encoder in one
process, and then through the same in 2 and 4 gloo processes: evenly spread, and so that one rank has one row and one has none.
"""

import multiprocessing
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lightning_embed.batch import ANCHOR, NEGATIVE, POSITIVE, EmbeddingBatch
from lightning_embed.heads import Projection
from lightning_embed.losses import EmbeddingLoss

Factory = Callable[[], EmbeddingLoss]
ROWS = 8
NEGATIVES = (1, 0, 2, 1, 3, 0, 1, 2)
SPLITS = {"even": {1: (8,), 2: (4, 4), 4: (2, 2, 2, 2)}, "ragged": {1: (8,), 2: (7, 1), 4: (3, 0, 1, 4)}}
IN, STUDENT, TEACHER = 6, 8, 10


@dataclass(frozen=True)
class Case:
    """One way to run a loss."""

    world: int
    """W, number of ranks."""
    split: str
    """`even` or `ragged`."""
    chunked: bool
    """Whether rows are encoded in checkpointed chunks."""


CASES = tuple(Case(w, split, chunked) for w in (2, 4) for split in SPLITS for chunked in (False, True))


def _share(rank: int, case: Case) -> tuple[slice, slice]:
    """The rows and the negatives of a rank."""
    counts = SPLITS[case.split][case.world]
    rows = slice(sum(counts[:rank]), sum(counts[: rank + 1]))
    return rows, slice(sum(NEGATIVES[: rows.start]), sum(NEGATIVES[: rows.stop]))


def _encode(encoder: nn.Module, texts: Tensor, chunked: bool) -> Tensor:
    if not chunked or len(texts) == 0:
        return encoder(texts)
    parts = [checkpoint(encoder, part, use_reentrant=False) for part in texts.split(2)]
    return torch.cat(parts)


def _run(factory: Factory, rank: int, case: Case) -> Tensor:
    """The loss and all gradients, end to end in one vector, as DDP would have them (the mean over ranks)."""
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Linear(IN, 16), nn.Tanh(), nn.Linear(16, STUDENT))
    projection = Projection(STUDENT, TEACHER)
    sizes = {ANCHOR: ROWS, POSITIVE: ROWS, NEGATIVE: sum(NEGATIVES)}
    texts = {role: torch.randn(n, IN) for role, n in sizes.items()}
    teacher = {role: nn.functional.normalize(torch.randn(n, TEACHER), dim=-1) for role, n in sizes.items()}
    reference = {role: torch.randn(n, STUDENT) for role, n in sizes.items()}
    keys = {role: torch.arange(n) + 100 * place for place, (role, n) in enumerate(sizes.items(), start=1)}
    keys[POSITIVE][5] = keys[POSITIVE][0]
    label = {role: torch.randint(0, 4, (n,)) for role, n in sizes.items()}
    score = {POSITIVE: torch.tensor([0.1, 0.9, 0.5, 0.5, 0.3, 0.9, 0.0, 0.7]), NEGATIVE: torch.rand(sizes[NEGATIVE])}
    loss = factory()
    rows, negatives = _share(rank, case)

    def mine(columns: dict[str, Tensor]) -> dict[str, Tensor]:
        return {role: column[negatives if role == NEGATIVE else rows] for role, column in columns.items()}

    batch = EmbeddingBatch(
        student={role: _encode(encoder, column, case.chunked) for role, column in mine(texts).items()},
        teacher=mine(teacher),
        reference=mine(reference),
        projection=projection,
        keys=mine(keys),
        label=mine(label),
        score=mine(score),
        negative_counts=torch.tensor(NEGATIVES)[rows],
        source="testing",
    )
    value = loss(batch)
    value.backward()
    trained = [p for m in (encoder, projection, loss) for p in m.parameters() if p.requires_grad]
    grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in trained]
    everything = torch.cat([value.detach().reshape(1), *[g.flatten() for g in grads]])
    if case.world > 1:
        dist.all_reduce(everything)
    return everything / case.world


def _worker(rank: int, world: int, folder: str, factories: dict[str, Factory], cases: list[Case]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store{world}", rank=rank, world_size=world)
    found = {name: [_run(factory, rank, case) for case in cases] for name, factory in factories.items()}
    if rank == 0:
        torch.save(found, f"{folder}/result{world}")
    dist.barrier()
    os._exit(0)  # gloo's threads may abort a process that ends while another one still speaks to it


def _start_method() -> str:
    """Forks of one server that has imported torch, where the system has them: each new Python takes seconds to import it."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return "spawn"
    multiprocessing.set_forkserver_preload([__name__])  # which counts unless the program's server runs already
    return "forkserver"


def world_size_errors(factories: Mapping[str, Factory]) -> Iterator[tuple[str, Case, float, float]]:
    """Runs losses in every case and yields (name, case, relative error of the loss, of the gradient) against one process.

    Args:
        factories: Name -> what makes the loss; it is sent to other processes, so a class, a partial or a function of a module.
    """
    alone = Case(1, "even", False)
    one = {name: _run(factory, 0, alone) for name, factory in factories.items()}
    with tempfile.TemporaryDirectory() as folder:
        for world in sorted({case.world for case in CASES}):
            cases = [case for case in CASES if case.world == world]
            arguments: tuple[Any, ...] = (world, folder, dict(factories), cases)
            mp.start_processes(_worker, arguments, nprocs=world, start_method=_start_method())
            found = torch.load(Path(folder) / f"result{world}", weights_only=True)
            for name in factories:
                for case, got in zip(cases, found[name], strict=True):
                    difference, expected = (got - one[name]).abs(), one[name].abs()
                    grad = float(difference[1:].max() / expected[1:].max().clamp(min=1e-12))
                    yield name, case, float(difference[0] / expected[0].clamp(min=1e-12)), grad


def assert_world_size_invariant(factory: Factory, tolerance: float = 1e-5) -> None:
    """Raises `AssertionError` unless a loss and its gradients are the same on 1, 2 and 4 ranks, chunked or not.

    Args:
        factory: Makes the loss: a class without required arguments, a `functools.partial`, or a function at the top of a module.
        tolerance: Largest relative error, of the loss and of the gradient (relative to its largest entry).
    """
    for _, case, loss, grad in world_size_errors({"loss": factory}):
        if not (loss <= tolerance and grad <= tolerance):
            raise AssertionError(
                f"on {case.world} ranks ({case.split}, {'chunked' if case.chunked else 'whole'}) the loss differs from one process's by "
                f"{loss:.1e} and the gradient by {grad:.1e}; normalise by global counts (lightning_embed.distributed.global_mean) "
                "and gather what is compared across rows"
            )
