"""The number of ranks changes nothing: loss and gradient of ragged shares equal the single process's."""

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from lightning_embed.batch import EmbeddingBatch
from lightning_embed.heads import Projection
from lightning_embed.losses import GOR, Distillation, EmbeddingLoss, InfoNCE

ROWS, NEGATIVES = 7, 5
SHARES = {1: [slice(0, 7)], 2: [slice(0, 6), slice(6, 7)], 4: [slice(0, 3), slice(3, 3), slice(3, 4), slice(4, 7)]}


def losses() -> dict[str, EmbeddingLoss]:
    return {
        "distill": Distillation(),
        "sum": Distillation(reduction="sum"),
        "nce": InfoNCE(temperature=0.1, learnable_temperature=True),
        "both": InfoNCE(temperature=0.1, symmetric=True),
        "guided": InfoNCE(temperature=0.1, teacher_margin=0.05),
        "gor": GOR(),
    }


def result(name: str, rank: int, world: int) -> list[torch.Tensor]:
    torch.manual_seed(0)
    encoder, projection, loss = nn.Linear(6, 4), Projection(4, 5), losses()[name]
    texts = {"anchor": torch.randn(ROWS, 6), "positive": torch.randn(ROWS, 6), "negative": torch.randn(NEGATIVES, 6)}
    teacher = {role: torch.randn(len(x), 5) for role, x in texts.items()}
    keys = {role: torch.arange(len(x)) + 100 * i + 1 for i, (role, x) in enumerate(texts.items())}
    keys["positive"][3] = keys["positive"][0]
    share = SHARES[world][rank]
    cut = {
        "anchor": share,
        "positive": share,
        "negative": slice(min(share.start, NEGATIVES), min(share.stop, NEGATIVES)),
    }
    batch = EmbeddingBatch(
        {role: encoder(x[cut[role]]) for role, x in texts.items()},
        {role: x[cut[role]] for role, x in teacher.items()},
        projection=projection,
        keys={role: x[cut[role]] for role, x in keys.items()},
    )
    value = loss(batch)
    value.backward()
    trained = [*encoder.parameters(), *projection.parameters(), *loss.parameters()]
    grads = [p.grad if p.grad is not None else torch.zeros_like(p) for p in trained]
    everything = [value.detach(), *grads]
    if world > 1:
        for tensor in everything:
            dist.all_reduce(tensor)
    return [tensor / world for tensor in everything]


def worker(rank: int, world: int, store: str, out: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world)
    got = {name: result(name, rank, world) for name in losses()}
    if rank == 0:
        torch.save(got, out)
    dist.destroy_process_group()


def test_two_and_four_ranks_give_the_loss_and_gradients_of_one(tmp_path) -> None:
    for world in (2, 4):
        mp.spawn(worker, (world, str(tmp_path / f"store{world}"), str(tmp_path / "out")), nprocs=world)
        got = torch.load(tmp_path / "out", weights_only=True)
        for name in losses():
            for mine, one in zip(got[name], result(name, 0, 1), strict=True):
                torch.testing.assert_close(
                    mine, one, rtol=1e-5, atol=1e-6, msg=lambda m, n=name, w=world: f"{n}, {w} ranks: {m}"
                )
