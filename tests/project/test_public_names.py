"""The public names: all are there, under every path that a saved configuration or a user's code may hold, and importing is cheap."""

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import lightning_embed

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "lightning_embed"
ROOMS = sorted(file.parent.relative_to(ROOT).as_posix().replace("/", ".") for file in PACKAGE.glob("*/__init__.py"))

PATHS = {
    # a saved config.yaml holds these
    "lightning_embed": "EmbeddingDataModule EmbeddingModule FrozenEncoder LossTerm Projection PythonDocs Source StoredTeacher TextEncoder",
    "lightning_embed.losses": "AnglE BinaryRobust CoSENT Distillation GOR InfoNCE KLDistillation LossTerm MarginMSE Matryoshka"
    " Quantized RelationalDistillation ScoreDistillation Uniformity",
    "lightning_embed.schedulers": "WarmupSchedule",
    "lightning_embed.callbacks.loss_schedule": "LossSchedule",
    "lightning_embed.callbacks.task_grid": "TaskGrid",
    # code and the documents hold these too
    "lightning_embed.batch": "EmbeddingBatch TextBatch TokenBatch Tokens text_key",
    "lightning_embed.datamodules": "EmbeddingDataModule PythonDocs Source",
    "lightning_embed.datamodules.docstrings": "SPLITS build",
    "lightning_embed.distributed": "global_mean",
    "lightning_embed.errors": "UserError",
    "lightning_embed.export": "export_encoder export_model quantize",
    "lightning_embed.export.folder": "export_encoder",
    "lightning_embed.heads": "Pooling Projection normalize pool pool_packed",
    "lightning_embed.testing": "assert_world_size_invariant",
    # the functions behind the commands
    "lightning_embed.caching": "fill_store import_vectors",
    "lightning_embed.callbacks": "AverageCheckpoints LastCheckpoint LossSchedule PredictionWriter Report TaskGrid Throughput"
    " trainer_defaults",
    "lightning_embed.checkpoints": "CheckpointFiles average_checkpoints",
    "lightning_embed.doctor": "Diagnosis examine print_diagnosis",
    "lightning_embed.encoders": "Adapter BackboneSettings FrozenEncoder StoredTeacher TextEncoder",
    "lightning_embed.evaluation": "evaluate",
    "lightning_embed.mining": "BadRowSettings ModelSettings OutputSettings Rules SearchSettings WorkSettings mine",
    "lightning_embed.recipe": "Stage run_recipe",
    "lightning_embed.training": "FSDP2",
}


@pytest.mark.parametrize(
    ("module", "name"), [(module, name) for module, names in PATHS.items() for name in names.split()]
)
def test_a_public_path_can_be_imported(module: str, name: str) -> None:
    assert hasattr(import_module(module), name)


@pytest.mark.parametrize("module", ["lightning_embed", *ROOMS])
def test_every_listed_name_is_there(module: str) -> None:
    loaded = import_module(module)
    assert [name for name in getattr(loaded, "__all__", []) if not hasattr(loaded, name)] == []


def test_what_the_rooms_give_under_a_name_of_the_root_is_the_same_thing() -> None:
    for room in map(import_module, ROOMS):
        for name in {*getattr(room, "__all__", [])} & {*lightning_embed.__all__}:
            assert getattr(room, name) is getattr(lightning_embed, name), f"{room.__name__}.{name}"


def test_an_unknown_name_is_an_attribute_error_that_names_it() -> None:
    with pytest.raises(AttributeError, match="module 'lightning_embed' has no attribute 'EmbedingModule'"):
        _ = lightning_embed.EmbedingModule


def test_importing_the_package_loads_no_library_and_lists_every_public_name() -> None:
    script = "import json, sys, lightning_embed; print(json.dumps([sorted(sys.modules), dir(lightning_embed)]))"
    run = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    modules, names = json.loads(run.stdout)
    ours = {name for name in modules if name.partition(".")[0] == "lightning_embed"}
    assert ours == {"lightning_embed", *(f"lightning_embed.utils{name}" for name in ("", ".lazy", ".version"))}
    loaded = {name.partition(".")[0] for name in modules}
    assert not loaded & {"torch", "lightning", "transformers", "numpy", "jsonargparse", "sentence_transformers", "mteb"}
    assert names == sorted(lightning_embed.__all__)
    assert {"EmbeddingModule", "FSDP2", "TaskGrid", "evaluate", "fill_store", "mine"} <= {*names}


def test_commands_that_need_no_trainer_load_no_lightning() -> None:
    script = "import sys; from lightning_embed.cli import average, evaluate, export, recipe; print('lightning' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False"]
