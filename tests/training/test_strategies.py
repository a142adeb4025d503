"""Ten optimizer steps are the same on one process, under DDP and under FSDP2, stopped and gone on with elsewhere or not."""

from collections.abc import Iterable
from pathlib import Path

import pytest
import torch

from lightning_embed.batch import TokenBatch
from lightning_embed.encoders.columns import teacher_vectors
from lightning_embed.encoders.lora import Adapter
from lightning_embed.encoders.teacher import FrozenEncoder
from lightning_embed.errors import UserError
from lightning_embed.training.fsdp2 import FSDP2, check_strategy
from tests.fits import POOLING, Fit, differences, result, run_fits, write_inputs

BOUNDS = {"32-true": (1e-5, 1e-5), "bf16-mixed": (5e-2, 5e-3)}
"""Precision -> largest difference of a loss, and of a weight, after ten steps at a learning rate of 1e-3."""
EACH_LAYER = (("checkpoint_layers", True),)
TRAINED = {"full": (), "LoRA": (("adapter", Adapter(rank=4, dropout=0.0)),)}
SAVED_AT = 7
"""Within the second epoch, of six steps each."""
FEW = 4
"""Steps of runs whose first ten the slow tests compare, or that differ in the batch alone."""
ALONE = [
    Fit("one", save_at=SAVED_AT),
    Fit("one bf16-mixed", precision="bf16-mixed", steps=FEW),
    Fit("one accumulated", steps=FEW, trainer=(("accumulate_grad_batches", 2),)),
    Fit("one row", batch=1, steps=FEW),
    Fit("one fitted", start="fitted", steps=1),
    Fit("one of two teachers", start="fitted", steps=FEW, second_teacher=True),
]
CORE = [
    Fit("ddp", "ddp", chunked=True, save_at=SAVED_AT),
    Fit("fsdp2", "fsdp2", save_at=SAVED_AT),
    Fit("fsdp2 folder", "fsdp2 folder", chunked=True, student=EACH_LAYER, save_at=SAVED_AT),
    Fit("fsdp2 bf16-mixed", "fsdp2", precision="bf16-mixed", chunked=True, student=EACH_LAYER, steps=FEW),
    Fit("fsdp2 accumulated", "fsdp2", steps=FEW, trainer=(("accumulate_grad_batches", 2),), shard_teacher=True),
    Fit("fsdp2 row", "fsdp2", batch=1, steps=FEW, shard_teacher=True),
]
FITTED = [
    Fit("ddp fitted", "ddp", start="fitted", steps=1),
    Fit("fsdp2 fitted", "fsdp2", start="fitted", steps=1, shard_teacher=True),
]
RESUMED = [
    Fit("fsdp2 from one", "fsdp2", resume="one"),
    Fit("fsdp2 from ddp", "fsdp2", resume="ddp"),
    Fit("fsdp2 from fsdp2 folder", "fsdp2 folder", resume="fsdp2 folder"),
    Fit("ddp from fsdp2 folder", "ddp", resume="fsdp2 folder"),
]
TWO_TEACHERS = [
    Fit("ddp of two teachers", "ddp", start="fitted", steps=FEW, second_teacher=True, save_at=FEW - 1),
    Fit(
        "fsdp2 of two teachers",
        "fsdp2",
        steps=FEW,
        second_teacher=True,
        shard_teacher=True,
        resume="ddp of two teachers",
    ),
]
RESUMED_ALONE = [Fit("one from fsdp2", resume="fsdp2"), Fit("one from fsdp2 folder", resume="fsdp2 folder")]


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the runs above, those on two ranks in one spawn."""
    folder = tmp_path_factory.mktemp("core")
    write_inputs(folder, ("qwen3",))
    run_fits(folder, ALONE, 1)
    run_fits(folder, CORE + FITTED + RESUMED + TWO_TEACHERS, 2)
    run_fits(folder, RESUMED_ALONE, 1)
    return folder


def too_different(folder: Path, fits: Iterable[tuple[Fit, str]]) -> dict[str, tuple[float, float]]:
    """The runs that differ by more than is stated from those named beside them."""
    found = {}
    print()
    for fit, other in fits:
        bound, one, two = BOUNDS[fit.precision], result(folder, other), result(folder, fit.name)
        if fit.resume is not None:
            one["losses"] = one["losses"][SAVED_AT:]
        loss, weight = differences(one, two)
        print(f"{fit.name:50} loss {loss:.1e} weights {weight:.1e}")
        if not (loss <= bound[0] and weight <= bound[1]):
            found[fit.name] = (loss, weight)
    return found


def test_ten_steps_are_those_of_one_process(core: Path) -> None:
    one = result(core, "one")
    assert len(one["losses"]) == 10 and one["losses"][-1] < 0.9 * one["losses"][0]
    names = ["one", "one", "one", "one bf16-mixed", "one accumulated", "one row"]
    assert too_different(core, zip(CORE, names, strict=True)) == {}


def test_a_fitted_projection_starts_the_same_on_any_number_of_ranks(core: Path) -> None:
    one = result(core, "one fitted")
    assert one["losses"][0] < result(core, "one")["losses"][0]
    for fit in FITTED:
        loss, weight = differences(one, result(core, fit.name))
        print(f"{fit.name:50} loss {loss:.1e} weights {weight:.1e}")
        # rounding counts for more in directions in which there is next to nothing to fit to
        assert loss <= 1e-5 and weight <= 1e-4


def test_world_size_and_a_resumption_change_nothing_with_two_teachers(core: Path) -> None:
    for fit in TWO_TEACHERS:
        one = result(core, "one of two teachers")
        parts = {f"projection.{name}.{part}" for name in ("first", "second") for part in ("weight", "bias")}
        assert {key for key in one["weights"] if key.startswith("projection.")} == parts
        if fit.resume is not None:
            one["losses"] = one["losses"][FEW - 1 :]
        loss, weight = differences(one, result(core, fit.name))
        print(f"{fit.name:50} loss {loss:.1e} weights {weight:.1e}")
        assert loss <= 1e-5 and weight <= 1e-4  # as where a projection is fitted to one teacher


def test_a_run_goes_on_under_another_strategy_as_if_never_stopped(core: Path) -> None:
    assert (core / "fsdp2 folder.ckpt" / "meta.pt").is_file() and (core / "fsdp2.ckpt").is_file()
    assert too_different(core, ((fit, "one") for fit in RESUMED + RESUMED_ALONE)) == {}


def test_files_of_all_strategies_hold_the_same_without_the_teacher(core: Path) -> None:
    from lightning_embed.distributed.sharded_checkpoint import read

    saved = {name: torch.load(core / f"{name}.ckpt", weights_only=True) for name in ("one", "fsdp2")}
    saved["folder"] = read(core / "fsdp2 folder.ckpt")
    one = saved["one"]
    state = one["optimizer_states"][0]["state"]
    assert not [name for name in one["state_dict"] if "teacher" in name]
    for other in saved.values():
        assert other["state_dict"].keys() == one["state_dict"].keys()
        for name, value in one["state_dict"].items():
            torch.testing.assert_close(other["state_dict"][name], value, rtol=0, atol=1e-6)
        assert other["EmbeddingDataModule"] == one["EmbeddingDataModule"] and other["global_step"] == SAVED_AT
        groups = other["optimizer_states"][0]["param_groups"]
        for mine, name in enumerate(name for group in groups for name in group["params"]):
            found = other["optimizer_states"][0]["state"].get(name, {})
            assert found.keys() == state.get(mine, {}).keys()
            for key, value in found.items():
                torch.testing.assert_close(value, state[mine][key], rtol=0, atol=1e-6)


def test_files_of_all_strategies_describe_themselves(core: Path) -> None:
    from lightning_embed import EmbeddingModule
    from lightning_embed.checkpoints.student import load_student

    meta = torch.load(core / "fsdp2 folder.ckpt" / "meta.pt", weights_only=True)
    assert meta["lightning_embed"]["student"]["init_args"]["model"] == str(core / "qwen3")
    vectors = load_student(core / "one.ckpt").encode(["w1 w2", "w3"])
    for name in ("fsdp2", "fsdp2 folder"):
        loaded = EmbeddingModule.load_from_checkpoint(core / f"{name}.ckpt")
        torch.testing.assert_close(loaded.student.encode(["w1 w2", "w3"]), vectors, rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("trained", TRAINED)
@pytest.mark.parametrize("family", POOLING)
def test_ten_steps_of_every_family_strategy_precision_and_chunking(family: str, trained: str, tmp_path: Path) -> None:
    write_inputs(tmp_path, (family,))
    adapter = TRAINED[trained]
    every = [
        Fit(
            f"{strategy} {precision} {chunked} {layers}", strategy, family, precision, chunked, student=adapter + layers
        )
        for strategy in ("auto", "ddp", "fsdp2")
        for precision in BOUNDS
        for chunked in (False, True)
        for layers in ((), EACH_LAYER)
    ]
    run_fits(tmp_path, [fit for fit in every if fit.strategy == "auto"], 1)
    run_fits(tmp_path, [fit for fit in every if fit.strategy != "auto"], 2)
    assert too_different(tmp_path, ((fit, f"auto {fit.precision} False ()") for fit in every)) == {}


@pytest.mark.slow
def test_two_and_four_ranks_and_groups_of_ranks_read_each_others_checkpoints(tmp_path: Path) -> None:
    write_inputs(tmp_path, ("qwen3",))
    strategies = ("ddp", "fsdp2", "fsdp2 folder")
    run_fits(tmp_path, [Fit("one", save_at=SAVED_AT)], 1)
    run_fits(tmp_path, [Fit(f"2 {s}", s, save_at=SAVED_AT) for s in strategies], 2)
    on_two = ["one", *(f"2 {s}" for s in strategies)]
    grouped = (*strategies, "fsdp2 2x2")
    read = [Fit(f"4 {s} from {w}", s, resume=w, chunked=True) for s in grouped for w in on_two]
    written = [Fit(f"4 {s}", s, save_at=SAVED_AT) for s in grouped]
    run_fits(tmp_path, read + written, 4)
    back = [Fit(f"2 {s} from {w.name}", s, resume=w.name) for s in strategies for w in written]
    run_fits(tmp_path, back, 2)
    alone = [Fit(f"one from {w.name}", resume=w.name) for w in written]
    run_fits(tmp_path, alone, 1)
    assert too_different(tmp_path, ((fit, "one") for fit in [*read, *written, *back, *alone])) == {}


@pytest.mark.parametrize(
    ("strategy", "precision", "said"),
    [
        ("fsdp", None, "trainer.strategy fsdp: it is FSDP1.*take fsdp2"),
        ("deepspeed_stage_3", None, "take fsdp2"),
        ("ddq", None, "did you mean ddp.*ddp, fsdp2 or auto"),
        ("auto", "bf16-true", "take bf16-mixed"),
        ("fsdp2", "16-mixed", "fsdp2 takes 32-true or bf16-mixed"),
    ],
)
def test_what_is_not_to_be_used_says_what_to_take(strategy: str, precision: str | None, said: str) -> None:
    with pytest.raises(UserError, match=said):
        check_strategy(strategy, precision)


def test_a_rank_whose_teacher_vectors_are_stored_runs_a_sharded_teacher_with_the_others(
    teacher: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    frozen = FrozenEncoder(str(teacher), shard=True)
    frozen.register_forward_pre_hook(lambda _, args: calls.append(len(args[0])))
    tokens = {role: frozen.tokenizer(["w1", "w2"])[0] for role in ("anchor", "positive")}
    stored = {role: torch.ones(2, 48) for role in tokens}
    batch = TokenBatch(tokens, tokens, teacher_vectors=stored)
    assert teacher_vectors(frozen, batch, tokens).keys() == stored.keys() and calls == []
    monkeypatch.setattr(
        "lightning_embed.encoders.columns.max_over_ranks", lambda count, device: 1
    )  # another rank lacks some
    assert teacher_vectors(frozen, batch, tokens).keys() == stored.keys() and calls == [0]


def test_groups_must_fit_the_devices() -> None:
    from lightning.pytorch import Trainer

    with pytest.raises(UserError, match=r"replicate 3 x shard \(not given\) must be the number of devices, 2"):
        Trainer(accelerator="cpu", devices=2, strategy=FSDP2(replicate=3), logger=False)
