"""A LoRA adapter on a frozen student: what trains, what a checkpoint holds, and on which base it may be put."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_embed.batch import Tokens
from lightning_embed.encoders.copies import merged
from lightning_embed.encoders.lora import Adapter, attach
from lightning_embed.encoders.text_encoder import TextEncoder
from lightning_embed.errors import UserError
from lightning_embed.losses import InfoNCE, LossTerm, RelationalDistillation
from lightning_embed.module import EmbeddingModule
from tests.cli.test_fit import config, losses, refused, run
from tests.toys import toy_folder, toy_pairs

ADAPTER = {"rank": 4, "alpha": 8, "dropout": 0.1}
KINDS = ("bert", "mpnet", "modernbert", "eurobert", "qwen3")


def ragged(seed: int = 0) -> Tokens:
    draw = torch.Generator().manual_seed(seed)
    lengths = torch.tensor([9, 1, 30, 4, 17])
    return Tokens(torch.randint(4, 204, (int(lengths.sum()),), generator=draw), lengths)


def adapted(folder: Path, **settings: Any) -> TextEncoder:
    """An encoder whose adapter has been trained, as far as its numbers tell."""
    encoder = TextEncoder(str(folder), adapter=Adapter(4, 8.0, 0.2), **settings)
    draw = torch.Generator().manual_seed(1)
    for parameter in encoder.parameters():
        if parameter.requires_grad:
            parameter.data = torch.randn(parameter.shape, generator=draw) * 0.2
    return encoder


@pytest.fixture
def job(teacher: Path, student: Path, pairs: Path, tmp_path: Path) -> dict:
    """A run of an adapter with dropout, whose losses need a teacher, a trained projection and a reference."""
    made = config(teacher, student, pairs, tmp_path / "run")
    made["model"]["init_args"]["student"] |= {"adapter": ADAPTER, "dropout": 0.1}
    nce = {"class_path": "InfoNCE", "init_args": {"learnable_temperature": True}}
    made["model"]["init_args"]["losses"] |= {"nce": {"loss": nce}, "keep": {"loss": "RelationalDistillation"}}
    return made


@pytest.mark.parametrize(
    "family, sizes, trained",
    [
        (
            "qwen3",
            {
                "hidden_size": 1024, "num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 8,
                "head_dim": 128, "intermediate_size": 3072,
            },
            20_185_088,
        ),
        (
            "eurobert",
            {
                "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "num_key_value_heads": 12,
                "intermediate_size": 3072,
            },
            6_782_976,
        ),
    ],
)  # fmt: skip
def test_as_many_weights_train_as_the_paper_says(family: str, sizes: dict[str, int], trained: int) -> None:
    from transformers import AutoConfig, AutoModel

    with torch.device("meta"):
        backbone = AutoModel.from_config(AutoConfig.for_model(family, **sizes))
        attach(backbone, Adapter(), family)
    assert sum(p.numel() for p in backbone.parameters() if p.requires_grad) == trained


@pytest.mark.parametrize("family", KINDS)
def test_off_it_is_the_base_bit_for_bit_and_merged_it_is_itself(tmp_path: Path, family: str) -> None:
    folder = toy_folder(tmp_path / "m", family)
    base, encoder, tokens = TextEncoder(str(folder)).eval(), adapted(folder), ragged()
    assert type(encoder.backbone) is type(base.backbone) and encoder.parameter_count == base.parameter_count
    plain = base(tokens)
    assert torch.equal(encoder.reference(tokens), plain) and encoder.training
    on = encoder.eval()(tokens)
    assert (on - plain).abs().max() > 1e-2
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    whole = merged(encoder)
    assert whole.state_dict().keys() == base.state_dict().keys()
    torch.testing.assert_close(whole(tokens), on, rtol=1e-4, atol=1e-5)
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


@pytest.mark.parametrize("family", ("bert", "eurobert", "qwen3"))
def test_packed_padded_and_one_by_one_are_the_same(tmp_path: Path, family: str) -> None:
    folder = toy_folder(tmp_path / "m", family)
    tokens = ragged()
    padded, packed = (adapted(folder, packing=p).eval()(tokens) for p in ("off", "on"))
    torch.testing.assert_close(packed, padded, rtol=1e-4, atol=1e-5)
    encoder, ids = adapted(folder, packing="on").eval(), tokens.ids.split(tokens.lengths.tolist())
    singles = [encoder(Tokens(one, torch.tensor([len(one)]))) for one in ids]
    torch.testing.assert_close(torch.cat(singles), padded, rtol=1e-4, atol=1e-5)


def test_chunks_that_are_computed_again_give_the_same_gradient_with_dropout(tmp_path: Path) -> None:
    folder = toy_folder(tmp_path / "m", "qwen3")
    found = []
    for again in (False, True):
        encoder = adapted(folder, checkpoint_chunks=again, max_tokens=40)
        torch.manual_seed(5)
        vectors = encoder(ragged())
        (vectors * torch.linspace(-1, 1, vectors.shape[1])).sum().backward()
        found.append({name: p.grad for name, p in encoder.named_parameters() if p.requires_grad})
        assert all(p.grad is None for p in encoder.parameters() if not p.requires_grad)
    assert all(torch.equal(grad, found[1][name]) for name, grad in found[0].items())


def test_an_adapter_is_float32_on_a_base_in_half(student: Path) -> None:
    encoder = TextEncoder(str(student), dtype="bfloat16", adapter=Adapter(4))
    kinds = (
        {p.dtype for p in encoder.parameters() if p.requires_grad},
        {p.dtype for p in encoder.parameters() if not p.requires_grad},
    )
    assert kinds == ({torch.float32}, {torch.bfloat16})
    encoder(ragged()).sum().backward()


def test_targets_are_named_or_refused(student: Path) -> None:
    encoder = TextEncoder(str(student), adapter=Adapter(4, targets=["query", "value"]))
    names = {name.split(".lora_")[0].rsplit(".", 1)[1] for name, p in encoder.named_parameters() if p.requires_grad}
    assert names == {"query", "value"}
    with pytest.raises(UserError, match=r"expected some of attention.self.query.*got q_proj"):
        TextEncoder(str(student), adapter=Adapter(4, targets=["query", "q_proj"]))


def test_a_reference_without_an_adapter_is_refused(student: Path) -> None:
    with pytest.raises(UserError, match=r"'keep' .* requires a reference.*give student.adapter"):
        EmbeddingModule(TextEncoder(str(student)), {"keep": LossTerm(RelationalDistillation())})


def test_the_reference_is_the_base_without_dropout_or_gradient(student: Path) -> None:
    from lightning_embed.batch import TokenBatch

    encoder = adapted(student, dropout=0.5)
    module = EmbeddingModule(encoder, {"nce": LossTerm(InfoNCE()), "keep": LossTerm(RelationalDistillation())})
    tokens = {"anchor": ragged(1), "positive": ragged(2)}
    batch = module.encode(TokenBatch(tokens), module.losses.values())  # type: ignore[arg-type]
    base = TextEncoder(str(student)).eval()
    for role, found in batch.reference.items():
        assert not found.requires_grad and batch.student[role].requires_grad
        torch.testing.assert_close(found, base(tokens[role]))
    assert module.encode(TokenBatch(tokens), [InfoNCE()]).reference == {}


def test_a_checkpoint_holds_what_trains_and_the_base_does_not_change(job: dict, student: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    from lightning_embed.checkpoints.student import load_student

    run(job, tmp_path, "--report.enabled", "false")
    checkpoint = tmp_path / "run/checkpoints/last.ckpt"
    saved = torch.load(checkpoint, weights_only=True)
    heads = {"projection.weight", "projection.bias", "losses.nce.log_temperature"}
    assert heads < set(saved["state_dict"]) and all(".lora_" in name for name in set(saved["state_dict"]) - heads)
    base, trained = load_file(student / "model.safetensors"), load_student(checkpoint).state_dict()
    found = {name.removeprefix("backbone.").replace(".base_layer", ""): value for name, value in trained.items()}
    assert base and all(torch.equal(found[name], value) for name, value in base.items())
    grown = [value for name, value in trained.items() if ".lora_B" in name]
    assert grown and all(value.abs().max() > 0 for value in grown)


def test_a_stopped_run_of_an_adapter_goes_on_as_if_never_stopped(job: dict, tmp_path: Path) -> None:
    words = ("--report.enabled", "false")
    job["trainer"]["max_steps"] = 6
    run(job | {"trainer": job["trainer"] | {"default_root_dir": str(tmp_path / "whole")}}, tmp_path, *words)
    run(job, tmp_path, *words, "--trainer.max_steps", "3")
    run(job, tmp_path, *words, "--ckpt_path", "last")
    assert losses(tmp_path / "run")[:3] + losses(tmp_path / "run")[-3:] == losses(tmp_path / "whole")
    ends = [torch.load(tmp_path / f"{name}/checkpoints/last.ckpt", weights_only=True) for name in ("run", "whole")]
    assert all(torch.equal(value, ends[1]["state_dict"][name]) for name, value in ends[0]["state_dict"].items())


@pytest.mark.slow
def test_another_base_another_adapter_and_a_whole_student_are_refused(
    job: dict, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--report.enabled", "false")
    run(job, tmp_path, *words)
    last = str(tmp_path / "run/checkpoints/last.ckpt")
    arguments = job["model"]["init_args"]["student"]
    right, other = arguments["model"], str(toy_folder(tmp_path / "other", hidden=32, seed=9))
    said = {}
    arguments["model"] = other
    job["data"]["init_args"]["predict"] = job["data"]["init_args"]["test"]
    for command in ("fit", "test", "predict"):
        with pytest.raises(SystemExit):
            run(job, tmp_path, *(words if command == "fit" else ()), "--ckpt_path", last, command=command)
        said[command] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    for lines in said.values():
        assert len(lines) == 1 and f"an adapter for {right}" in lines[0] and f"starts from {other}" in lines[0]
    arguments |= {"model": right, "adapter": ADAPTER | {"rank": 2}}
    assert "an adapter of rank 4, and student.adapter has rank 2" in refused(
        job, tmp_path, capsys, *words, "--ckpt_path", last
    )
    del arguments["adapter"], job["model"]["init_args"]["losses"]["keep"]
    assert "this student has none: give student.adapter" in refused(job, tmp_path, capsys, *words, "--ckpt_path", last)
    whole = job | {"trainer": job["trainer"] | {"default_root_dir": str(tmp_path / "full")}}
    run(whole, tmp_path, *words)
    arguments["adapter"] = ADAPTER
    full = str(tmp_path / "full/checkpoints/last.ckpt")
    assert "holds a whole student, not an adapter" in refused(job, tmp_path, capsys, *words, "--ckpt_path", full)


def test_a_checkpoint_that_lacks_a_trained_weight_is_refused(
    job: dict, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--report.enabled", "false")
    run(job, tmp_path, *words)
    last = tmp_path / "run/checkpoints/last.ckpt"
    saved = torch.load(last, weights_only=True)
    del saved["state_dict"]["projection.bias"]
    torch.save(saved, last)
    assert "lacks 1 weights that train, such as projection.bias" in refused(
        job, tmp_path, capsys, *words, "--ckpt_path", str(last)
    )


def test_a_random_base_is_in_its_checkpoint(job: dict, tmp_path: Path) -> None:
    from lightning_embed.checkpoints.student import load_student

    job["model"]["init_args"]["student"]["random_init"] = True
    run(job, tmp_path, "--report.enabled", "false")
    state = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    assert any("base_layer" in name for name in state)
    assert load_student(tmp_path / "run/checkpoints/last.ckpt").adapter is not None


def test_scored_and_unscored_sources_take_other_losses(
    job: dict, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import pandas

    scored = tmp_path / "scored.jsonl"
    rows = [row | {"score": (i % 6) / 5} for i, row in enumerate(toy_pairs(48))]
    scored.write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments, data = job["model"]["init_args"], job["data"]["init_args"]
    arguments["losses"]["cosent"] = {"loss": "CoSENT"}
    assert "requires score" in refused(job, tmp_path, capsys)
    arguments["losses"]["cosent"]["when"] = "score"
    for name in ("nce", "distill", "keep"):
        arguments["losses"][name] = {**arguments["losses"][name], "when": "no score"}
    data["train"] = [*data["train"], {"path": str(scored), "batch_size": 8, "max_length": 5}]
    run(job, tmp_path, "--report.enabled", "false", "--trainer.max_steps", "8")
    (file,) = tmp_path.glob("run*/csv/*/metrics.csv")
    table = pandas.read_csv(file).dropna(subset="train/loss")
    of_scored = table["train/cosent"].notna()
    assert 0 < of_scored.sum() < 8 and (of_scored == table["train/nce"].isna()).all()
    del arguments["losses"]["cosent"]
    assert "source 'scored' has anchor, positive, score, and no loss is for such batches" in refused(
        job, tmp_path, capsys
    )
    arguments["losses"]["nce"]["when"] = "scores"
    assert "when: expected one of score" in refused(job, tmp_path, capsys)


@pytest.mark.slow
def test_losses_that_rest_do_not_stop_ddp(job: dict, tmp_path: Path) -> None:
    """τ and ψ get no gradient from a scored batch; DDP would wait for it."""
    terms = job["model"]["init_args"]["losses"]
    terms["nce"]["weight"], terms["distill"]["weight"] = {0: 1, 2: 0}, {0: 0, 2: 1}
    two = {"devices": 2, "strategy": "ddp", "max_steps": 4}
    job["trainer"] |= two
    from tests.cli.test_fit import start

    process = start(job, tmp_path, "--report.enabled", "false")
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert len(losses(tmp_path / "run")) == 4


@pytest.mark.parametrize("source", ("run", pytest.param("run/checkpoints/last.ckpt", marks=pytest.mark.slow)))
def test_the_second_stage_starts_from_the_firsts_student_and_projection(
    teacher: Path, student: Path, pairs: Path, tmp_path: Path, source: str, capsys: pytest.CaptureFixture[str]
) -> None:
    first = config(teacher, student, pairs, tmp_path / "run")
    settings = {"prompts": {"query": "w1 ", "document": "w3 "}, "max_length": 12, "pooling": "last_token"}
    first["model"]["init_args"]["student"] |= settings
    run(first, tmp_path, "--report.dims", "[32]")
    exported = TextEncoder(str(tmp_path / "run/model"), adapter=Adapter(4))
    assert (exported.tokenizer.prompts, exported.tokenizer.max_length, exported.pooling) == tuple(settings.values())
    state = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    second = config(teacher, tmp_path / "run/model", pairs, tmp_path / "second")
    second["model"]["init_args"]["student"]["adapter"] = {"rank": 4}
    second["model"]["init_args"]["projection"] = {"weights": str(tmp_path / source), "trainable": False}
    run(second, tmp_path, "--report.dims", "[32]")
    carried = torch.load(tmp_path / "second/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    assert torch.equal(carried["projection.weight"], state["projection.weight"])
    second["model"]["init_args"]["projection"]["weights"] = str(tmp_path / "none")
    message = refused(second, tmp_path, capsys)
    assert f"; {tmp_path / 'none'}" in message and "does not exist" in message


def test_the_teacher_gets_an_instruction_by_task_and_its_vectors_are_stored_apart(
    teacher: Path, student: Path, pairs: Path
) -> None:
    from lightning_embed.datamodules import EmbeddingDataModule, Source
    from lightning_embed.datamodules.teacher_store.lookup import TeacherLookup
    from lightning_embed.encoders.teacher import FrozenEncoder

    ours = {"query": "w10 ", "document": "w11 ", "topic": "w11 "}
    theirs = {"query": "w20 w21 ", "topic": "w22 w23 w24 "}
    topics = Source(str(pairs), name="topics", task="clustering", prompts={"anchor": "topic", "positive": "topic"})
    data = EmbeddingDataModule([Source(str(pairs), name="search"), topics], global_batch_size=8, num_workers=0)
    pupil, master = TextEncoder(str(student), prompts=ours), FrozenEncoder(str(teacher), prompts=theirs)
    data.tokenizers = {"student": pupil.tokenizer, "teacher": master.tokenizer}
    data.prepare_data()
    data.setup("fit")
    first = {}
    for batch in data.train_dataloader():
        for role in ("anchor", "positive"):
            by_model = {"student": batch.student[role], "teacher": batch.teacher[role]}
            first.setdefault(batch.source, {})[role] = {who: t.ids[1:4].tolist() for who, t in by_model.items()}
    word = {w: pupil.tokenizer.hf.convert_tokens_to_ids(f"w{w}") for w in (10, 11, 20, 21, 22, 23, 24)}
    assert first["search"]["anchor"]["student"][0] == word[10] and first["topics"]["anchor"]["student"][0] == word[11]
    assert first["search"]["anchor"]["teacher"][:2] == [word[20], word[21]]
    for role in ("anchor", "positive"):
        assert first["topics"][role]["teacher"] == [word[22], word[23], word[24]]
        assert first["topics"][role]["student"][0] == word[11]
    lookup = TeacherLookup(None, theirs, 66)  # type: ignore[arg-type]
    assert lookup.keys(["w1"], "query") != lookup.keys(["w1"], "topic")
