"""Weights sharded over ranks (FSDP): every rank runs the same number of forwards, however many texts it has."""

from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

from lightning_embed.batch import Tokens
from lightning_embed.encoders.packing.proof import _weights_dtype
from lightning_embed.encoders.text_encoder import TextEncoder
from tests.forks import run_ranks
from tests.toys import toy_folder

LENGTHS = ([20, 3, 9, 30, 1], [7]), ([], [5, 6, 30, 2, 2])
"""Step -> rank -> texts: with 32 tokens a forward, 3 forwards against 1, then none against 3."""
SETTINGS = (("off", False), ("off", True), ("on", False), ("on", True))


def texts(lengths: list[int], seed: int) -> Tokens:
    ids = torch.randint(4, 204, (sum(lengths),), generator=torch.Generator().manual_seed(seed))
    return Tokens(ids, torch.tensor(lengths, dtype=torch.long))


def loss(encoder: TextEncoder, tokens: Tokens) -> torch.Tensor:
    vectors = encoder(tokens)
    return (vectors * torch.linspace(-1, 1, vectors.shape[1])).sum()


def forwards(encoder: TextEncoder) -> list[int]:
    calls: list[int] = []
    encoder.backbone.register_forward_pre_hook(lambda *_: calls.append(1))
    return calls


def sharded_run(rank: int, folder: str, scratch: str) -> None:
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{scratch}/store", rank=rank, world_size=2, timeout=timedelta(seconds=20)
    )
    found: list[tuple[int, dict[str, torch.Tensor]]] = []
    for packing, checkpointed in SETTINGS:
        encoder = TextEncoder(
            folder, "mean", dropout=0.0, max_tokens=32, packing=packing, checkpoint_chunks=checkpointed
        )
        for layer in encoder.backbone.layers:  # type: ignore[union-attr]
            fully_shard(layer)  # type: ignore[arg-type]
        fully_shard(encoder.backbone)
        calls = forwards(encoder)
        for step, shares in enumerate(LENGTHS):
            before = len(calls)
            loss(encoder, texts(shares[rank], seed=10 * step + rank)).backward()
            if step or packing == "off":  # the first packed step proves the backbone too
                found.append((len(calls) - before, {}))
        whole = {name: p.grad.full_tensor() for name, p in encoder.backbone.named_parameters()}  # type: ignore[union-attr]
        found[-1][1].update(whole)
    half = TextEncoder(folder, "mean")
    fully_shard(half.backbone, mp_policy=MixedPrecisionPolicy(param_dtype=torch.bfloat16))
    assert _weights_dtype(half.backbone) == torch.bfloat16
    torch.save(found, f"{scratch}/found{rank}")
    dist.destroy_process_group()


def test_ranks_with_more_and_fewer_texts_stay_in_step_and_train_alike(tmp_path: Path) -> None:
    folder = str(toy_folder(tmp_path / "m", "llama"))
    alone = TextEncoder(folder, "mean", dropout=0.0)
    for step, shares in enumerate(LENGTHS):
        for rank, lengths in enumerate(shares):
            (loss(alone, texts(lengths, seed=10 * step + rank)) / 2).backward()  # FSDP takes the mean over ranks
    run_ranks(sharded_run, (folder, str(tmp_path)), 2)
    first, second = (torch.load(tmp_path / f"found{rank}", weights_only=True) for rank in range(2))
    assert [calls for calls, _ in first] == [calls for calls, _ in second]
    assert max(calls for calls, _ in first) > 1
    ends = [whole for _, whole in first if whole]
    assert len(ends) == len(SETTINGS)
    for whole in ends:
        for name, parameter in alone.backbone.named_parameters():
            torch.testing.assert_close(whole[name], parameter.grad, rtol=1e-4, atol=1e-5)
