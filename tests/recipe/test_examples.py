"""The chains in examples/recipe: every stage is a configuration that `fit` takes, and has the recipe's numbers."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from jsonargparse import ArgumentParser
from jsonargparse.typing import Path_fr

from lightning_embed.module import EmbeddingModule
from lightning_embed.recipe.chain import Job, Stage, jobs
from lightning_embed.utils.configs import read_config
from tests import commands
from tests.toys import toy_folder

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "recipe"
SIZES: dict[str, tuple[str, dict[str, Any]]] = {
    "small": (
        "qwen3",
        {"hidden_size": 1024, "num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 8,
         "head_dim": 128, "intermediate_size": 3072, "max_position_embeddings": 32_768},
    ),
    "nano": (
        "eurobert",
        {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "num_key_value_heads": 12,
         "intermediate_size": 3072, "max_position_embeddings": 8_192},
    ),
    "teacher": (
        "qwen3",
        {"hidden_size": 2560, "num_hidden_layers": 36, "num_attention_heads": 32, "num_key_value_heads": 8,
         "head_dim": 128, "intermediate_size": 9728, "max_position_embeddings": 40_960},
    ),
}  # fmt: skip
"""The models' published configurations."""
ADAPTERS = ("retrieval", "text_matching", "clustering", "classification")


def model_folder(folder: Path, name: str) -> Path:
    """A model's folder without weights: its config, and a toy's tokenizer."""
    from transformers import AutoConfig

    family, sizes = SIZES[name]
    toy_folder(folder, family)
    AutoConfig.for_model(family, **sizes, vocab_size=1000, pad_token_id=0, eos_token_id=3).save_pretrained(folder)
    (folder / "model.safetensors").unlink()
    return folder


def chain(name: str, folder: Path, **values: Any) -> dict[str, Job]:
    """The stages of an example."""
    said = read_config(EXAMPLES / f"{name}.yaml")
    stages = [Stage(**{**stage, "config": Path_fr(str(EXAMPLES / stage["config"]))}) for stage in said["stages"]]
    made = jobs(stages, folder, folder / "data", "data", 1.0, said["values"] | values, said["shared"])
    return {job.name: job for job in made}


def inside(job: Job) -> dict[str, Any]:
    return job.settings["model"]["init_args"]


STAGES = [
    (name, stage["name"])
    for name in ("small", "nano", "demo")
    for stage in read_config(EXAMPLES / f"{name}.yaml")["stages"]
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "stage"), STAGES)
def test_fit_takes_every_stage(name: str, stage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        commands.run("fit", chain(name, tmp_path)[stage].runnable(), tmp_path, "--print_config")
    assert stop.value.code in (0, None), capsys.readouterr().err


@pytest.mark.parametrize(("name", "parameters"), [("small", 20_185_088), ("nano", 6_782_976)])
def test_an_adapter_has_the_papers_number_of_parameters(name: str, parameters: int, tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "student", name)
    job = chain(name, tmp_path)["retrieval"]
    settings = inside(job) | {"student": inside(job)["student"] | {"model": str(folder), "random_init": True}}
    teacher = model_folder(tmp_path / "teacher", "teacher")
    settings["teacher"] = settings["teacher"] | {"model": str(teacher), "random_init": True}
    settings["projection"] = settings["projection"] | {"weights": None}
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(EmbeddingModule, "model")
    parsed = parser.parse_object({"model": {"class_path": "EmbeddingModule", "init_args": settings}})
    with torch.device("meta"):
        module = parser.instantiate(parsed).model
    trained = {name: p for name, p in module.named_parameters() if p.requires_grad}
    assert sum(p.numel() for key, p in trained.items() if key.startswith("student.")) == parameters
    assert {key.split(".")[0] for key in trained} == {"student", "projection", "losses"}
    assert module.student.dim == SIZES[name][1]["hidden_size"] and module.teacher.dim == 2560


TABLE = {
    # stage -> steps, devices, rows of a step, max length, learning rate, θ in training
    ("small", "stage1"): (50_000, 8, 8 * 512, 512, 1e-4, 1e6),
    ("small", "long_context"): (6_500, 2, 2 * 64, 4096, 1e-4, 5e5),
    ("small", "text_matching"): (20_000, 1, 256, 384, 5e-5, 1e6),
    ("small", "clustering"): (20_000, 1, 512, 512, 1e-5, 1e5),
    ("small", "classification"): (30_000, 4, 4 * 64, 512, 4e-4, 3.5e6),
    ("nano", "stage1"): (50_000, 8, 8 * 1024, 512, 1e-4, 2.5e5),
    ("nano", "text_matching"): (20_000, 1, 256, 384, 5e-5, 2.5e5),
    ("nano", "clustering"): (20_000, 1, 1024, 512, 1e-5, 2.5e4),
    ("nano", "classification"): (30_000, 4, 4 * 128, 512, 4e-4, 1e6),
}


@pytest.mark.parametrize(("name", "stage"), TABLE)
def test_a_stage_has_the_recipes_numbers(name: str, stage: str, tmp_path: Path) -> None:
    job = chain(name, tmp_path)[stage]
    data, trainer, model = job.settings["data"]["init_args"], job.settings["trainer"], inside(job)
    lengths = {source["max_length"] for source in data["train"]}
    rate, theta = model["optimizer"]["init_args"]["lr"], model["student"]["rope_theta"]
    assert len(lengths) == 1
    found = (trainer["max_steps"], trainer["devices"], data["global_batch_size"], lengths.pop(), rate, theta)
    assert found == TABLE[name, stage]


@pytest.mark.parametrize(("name", "rows"), [("small", [2 * 256, 2 * 64]), ("nano", [2 * 384, 2 * 96])])
def test_retrieval_switches_batch_and_length_with_the_source(name: str, rows: list[int], tmp_path: Path) -> None:
    job = chain(name, tmp_path)["retrieval"]
    sources = job.settings["data"]["init_args"]["train"]
    assert [source["batch_size"] for source in sources] == rows
    assert [source["max_length"] for source in sources] == [384, 4096]
    assert {key: term["weight"] for key, term in inside(job)["losses"].items()} == {"nce": 1, "distill": 2, "gor": 1}
    assert (job.steps, job.settings["trainer"]["devices"]) == (8_000, 2)


@pytest.mark.parametrize(("name", "infer"), [("small", 3.5e6), ("nano", 1e6)])
def test_all_stages_share_the_recipes_settings(name: str, infer: float, tmp_path: Path) -> None:
    made = chain(name, tmp_path)
    for stage, job in made.items():
        model, trainer = inside(job), job.settings["trainer"]
        assert model["student"]["export_rope_theta"] == infer
        assert model["student"]["prompts"] == {"query": "Query: ", "document": "Document: "}
        assert model["optimizer"]["init_args"]["betas"] == [0.9, 0.999]
        assert model["optimizer"]["init_args"]["weight_decay"] == 0.01
        assert model["lr_scheduler"]["init_args"]["warmup_steps"] == 500
        assert (trainer["precision"], trainer["gradient_clip_val"]) == ("bf16-mixed", 1.0)
        dropout = 0.05 if stage == "classification" else 0.1
        expected = {"rank": 32, "alpha": 32, "dropout": dropout} if stage in ADAPTERS else None
        assert model["student"].get("adapter") == expected


def test_the_instruction_of_clustering_goes_to_the_teacher_alone(tmp_path: Path) -> None:
    model = inside(chain("small", tmp_path)["clustering"])
    assert list(model["losses"]) == ["distill"]
    assert "topic" in model["teacher"]["prompts"]["document"] and "topic" not in str(model["student"])


def test_examples_are_the_command_that_they_open_with() -> None:
    for name in ("small", "nano", "demo"):
        first = (EXAMPLES / f"{name}.yaml").read_text().splitlines()[0]
        assert first.startswith(f"# python -m lightning_embed recipe examples/recipe/{name}.yaml")
        assert yaml.safe_load((EXAMPLES / f"{name}.yaml").read_text())["stages"]


def test_the_seeds_begin_with_the_demos_stages_and_differ_in_nothing_but_seeds(tmp_path: Path) -> None:
    demo, seeds = chain("demo", tmp_path), chain("seeds", tmp_path)
    assert {name: job.key for name, job in demo.items()} == {name: seeds[name].key for name in demo}
    assert len({job.seedless_key for job in seeds.values()}) == len(demo)
    for name in ADAPTERS:
        assert len({seeds[repeat].seedless_key for repeat in (name, f"{name}-2", f"{name}-3")}) == 1
        same = [seeds[name].settings, seeds[f"{name}-2"].settings, seeds[f"{name}-3"].settings]
        assert len({settings["seed_everything"] for settings in same}) == 3
        assert len({settings["data"]["init_args"].pop("seed") for settings in same}) == 3
        assert all({**settings, "seed_everything": 0} == same[0] for settings in same)
