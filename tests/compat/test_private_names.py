"""Every private name of another library that compat uses, asked for by name: an upgrade that moves one fails here first, and says which."""

import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning.pytorch as L
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import nn

from lightning_embed.compat import datasets as our_datasets
from lightning_embed.compat import jsonargparse as our_jsonargparse
from lightning_embed.compat import lightning as our_lightning
from lightning_embed.compat import mteb as our_mteb
from lightning_embed.compat import peft as our_peft
from lightning_embed.compat import sentence_transformers as our_sentence_transformers
from lightning_embed.compat import torch as our_torch
from lightning_embed.compat import transformers as our_transformers


def need(thing: Any, *names: str) -> None:
    """Fails with the library's version where a thing has not got a name."""
    kind = thing if isinstance(thing, type) else type(thing)
    library = kind.__module__.partition(".")[0]
    for name in names:
        assert hasattr(thing, name), f"{library} {version(library)}: {kind.__qualname__} has no {name}; see compat"


class Counters(Callback):
    """Looks at a trainer's progress and at its checkpoint after two batches."""

    seen: tuple[int, int, int] = (-1, -1, -1)

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        need(trainer.fit_loop, "total_batch_idx", "epoch_loop")
        need(trainer.fit_loop.epoch_loop, "batch_progress")
        need(trainer.fit_loop.epoch_loop.batch_progress, "total", "current")
        need(trainer.fit_loop.epoch_loop.batch_progress.total, "ready", "started", "processed", "completed")
        self.seen = (
            our_lightning.batch_number(trainer),
            our_lightning.batches_done(trainer),
            our_lightning.steps_done(trainer),
        )


class Tiny(L.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 1)

    def training_step(self, batch: torch.Tensor, index: int) -> torch.Tensor:
        return self.linear(batch).sum()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def train_dataloader(self) -> Any:
        return torch.utils.data.DataLoader(torch.ones(4, 2), batch_size=1)


@pytest.fixture
def trainer(tmp_path: Path) -> L.Trainer:
    quiet: dict[str, Any] = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    return L.Trainer(accelerator="cpu", devices=1, max_steps=2, default_root_dir=str(tmp_path), **quiet)


def test_lightning_counts_batches_where_compat_looks(trainer: L.Trainer) -> None:
    counters = Counters()
    trainer.callbacks.append(counters)  # type: ignore[attr-defined]
    trainer.fit(Tiny())
    assert counters.seen == (1, 2, 2)


def test_lightnings_checkpoints_keep_the_counts_that_compat_corrects(trainer: L.Trainer) -> None:
    trainer.fit(Tiny())
    loops = trainer.fit_loop.state_dict()
    batches, epochs = our_lightning.batch_counts(2, 4), our_lightning.epoch_counts(2, 4)
    assert loops["epoch_loop.batch_progress"].keys() == batches.keys()
    assert loops["epoch_loop.batch_progress"]["current"].keys() == batches["current"].keys()
    assert loops["epoch_progress"].keys() == epochs.keys()
    assert "_batches_that_stepped" in loops["epoch_loop.state_dict"]


def test_lightnings_loops_have_an_inference_mode(trainer: L.Trainer) -> None:
    loops = (trainer.validate_loop, trainer.test_loop, trainer.predict_loop)
    for loop in loops:
        need(loop, "inference_mode")
    our_lightning.turn_off_inference_mode(trainer)
    assert [loop.inference_mode for loop in loops] == [False] * 3
    assert (
        trainer.fit_loop.epoch_loop.val_loop.inference_mode is False
    )  # Lightning's own choice, which compat relies on


def test_lightnings_mesh_takes_its_sizes_from_the_strategy() -> None:
    strategy = ModelParallelStrategy()
    need(strategy, "_data_parallel_size", "_tensor_parallel_size")
    our_lightning.set_mesh_sizes(strategy, 4, 1)
    assert (strategy._data_parallel_size, strategy._tensor_parallel_size) == (4, 1)


def test_lightnings_launchers_can_launch_kill_and_list_their_processes() -> None:
    from lightning.pytorch.strategies.launchers import _MultiProcessingLauncher, _SubprocessScriptLauncher

    for launcher in (_MultiProcessingLauncher, _SubprocessScriptLauncher):
        need(launcher, "launch", "kill")
    several = L.Trainer(accelerator="cpu", devices=2, strategy="ddp", logger=False, enable_checkpointing=False)
    need(several.strategy.launcher, "procs")
    assert our_lightning.started_processes(several) == our_lightning.started_processes(None) == []


def test_lightning_has_the_methods_that_are_overridden_here() -> None:
    """A method that Lightning renames would never be called again, and nothing would fail."""
    from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
    from lightning.pytorch.plugins.io import TorchCheckpointIO

    need(ModelParallelStrategy, "set_world_ranks", "setup_environment", "setup", "post_backward", "device_mesh")
    need(ModelParallelStrategy, "lightning_module_state_dict", "optimizer_state", "save_checkpoint", "load_checkpoint")
    need(LightningCLI, "subcommands", "parse_arguments", "add_arguments_to_parser", "before_instantiate_classes")
    need(LightningCLI, "instantiate_trainer")
    need(LightningArgumentParser, "error")
    need(TorchCheckpointIO, "save_checkpoint", "load_checkpoint")


def test_one_process_is_launched_in_place(trainer: L.Trainer) -> None:
    called: list[bool] = []
    our_lightning.launch(trainer, lambda: called.append(True))
    assert called == [True]


@pytest.fixture
def backbone() -> Any:
    from transformers import AutoConfig, AutoModel

    sizes = {"vocab_size": 20, "hidden_size": 16, "num_hidden_layers": 1, "intermediate_size": 32}
    config = AutoConfig.for_model("llama", num_attention_heads=2, num_key_value_heads=1, **sizes)
    config.use_cache = False
    torch.manual_seed(0)
    return AutoModel.from_config(config, attn_implementation="sdpa").eval()


def test_a_transformers_model_attends_as_its_config_says(backbone: Any) -> None:
    need(backbone.config, "_attn_implementation")
    called: list[Any] = []

    def attention(module: nn.Module, query: Any, key: Any, value: Any, mask: Any, **options: Any) -> Any:
        called.append(mask)
        return our_transformers.sdpa_attention(module, query, key, value, mask, options)

    ids, padding = torch.tensor([[5, 6, 7], [8, 9, 0]]), torch.tensor([[1, 1, 1], [1, 1, 0]])
    before = backbone(input_ids=ids, attention_mask=padding).last_hidden_state
    our_transformers.register_attention("compat_test", attention)
    our_transformers.set_attention(backbone, "compat_test")
    assert our_transformers.attention_of(backbone) == "compat_test"
    after = backbone(input_ids=ids, attention_mask=padding).last_hidden_state
    torch.testing.assert_close(after, before)
    assert called[0].shape == (2, 1, 3, 3)  # sdpa's mask, not flash attention's


def test_transformers_passes_a_mask_of_four_dimensions_on_as_it_is(backbone: Any) -> None:
    given: list[Any] = []

    def attention(module: nn.Module, query: Any, key: Any, value: Any, mask: Any, **options: Any) -> Any:
        given.append(mask)
        return our_transformers.sdpa_attention(module, query, key, value, None, options)

    our_transformers.register_attention("compat_mask", attention)
    our_transformers.set_attention(backbone, "compat_mask")
    mask = our_transformers.mask_as_is(backbone, torch.device("cpu"))
    backbone(input_ids=torch.tensor([[5, 6, 7]]), attention_mask=mask)
    assert mask is not None and given[0].shape == mask.shape
    our_transformers.set_attention(backbone, "flash_attention_2")
    assert our_transformers.mask_as_is(backbone, torch.device("cpu")) is None


def test_transformers_rotary_modules_are_made_from_the_config(backbone: Any) -> None:
    ((name, module),) = our_transformers.rotary_modules(backbone)
    assert name == "rotary_emb"
    backbone.config.rope_parameters["rope_theta"] = 500.0
    made: Any = our_transformers.remake_rotary(module, backbone.config)
    assert not torch.equal(made.inv_freq, module.inv_freq) and made.inv_freq[1] == pytest.approx(500 ** (-1 / 4))


def test_peft_bypasses_an_adapter_and_names_its_weights_as_compat_does(backbone: Any, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model_state_dict, inject_adapter_in_model
    from peft.tuners.lora import Linear, LoraLayer
    from peft.tuners.tuners_utils import BaseTunerLayer

    need(BaseTunerLayer, "_disable_adapters")
    need(Linear, "get_base_layer", "get_delta_weight")
    ids = torch.tensor([[5, 6, 7]])
    before = backbone(input_ids=ids).last_hidden_state
    inject_adapter_in_model(LoraConfig(target_modules=["q_proj"], init_lora_weights=False), backbone, "default")
    need(backbone, "peft_config")
    layers = [module for module in backbone.modules() if isinstance(module, LoraLayer)]
    assert not torch.equal(backbone(input_ids=ids).last_hidden_state, before)
    with our_peft.bypassed(layers):
        torch.testing.assert_close(backbone(input_ids=ids).last_hidden_state, before)
        assert all(p.requires_grad for name, p in backbone.named_parameters() if our_peft.ADAPTER_WEIGHT in name)
    assert our_peft.adapter_config(backbone, "default").r == 8
    peft_s = {name.replace(".weight", ".default.weight") for name in get_peft_model_state_dict(backbone)}
    assert peft_s == {name for name in backbone.state_dict() if our_peft.ADAPTER_WEIGHT in name}
    our_peft.forget_adapter(backbone)
    assert not hasattr(backbone, "peft_config")


def test_peft_writes_the_prefix_that_compat_writes(backbone: Any) -> None:
    from peft import LoraConfig, get_peft_model, get_peft_model_state_dict

    adapted = get_peft_model(backbone, LoraConfig(target_modules=["q_proj"]))
    assert all(name.startswith(our_peft.FILE_PREFIX + "layers.0.") for name in get_peft_model_state_dict(adapted))


def test_torch_pickles_the_table_of_a_checkpoint_with_the_names_that_compat_allows(tmp_path: Path) -> None:
    import torch.distributed.checkpoint as dcp

    for module, names in our_torch.OF_TABLES.items():
        for name in names:
            assert hasattr(import_module(module), name), (
                f"torch {torch.__version__}: {module} has no {name}; see compat"
            )
    reader = our_torch.TensorReader(tmp_path)
    need(reader, "fs", "path", "load_id")
    dcp.save({"a": torch.ones(3), "b": torch.zeros(2, 2)}, storage_writer=dcp.FileSystemWriter(tmp_path), no_dist=True)
    assert (tmp_path / our_torch.TABLE).is_file()
    table = reader.read_metadata()
    need(table, "storage_data", "storage_meta", "state_dict_metadata")
    for place in table.storage_data.values():
        need(place, "relative_path", "offset", "length")
    assert set(table.state_dict_metadata) == {"a", "b"}
    sizes = {file.name: file.stat().st_size for file in tmp_path.glob("*.distcp")}
    assert our_torch.ends_of_shards(tmp_path) == sizes


def test_torchrun_announces_its_agents_store_as_compat_looks_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    rendezvous: Any = import_module("torch.distributed.rendezvous")
    monkeypatch.delenv("TORCHELASTIC_USE_AGENT_STORE", raising=False)
    assert our_torch.store_of_agents("a") is None
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
    assert rendezvous._torchelastic_use_agent_store()  # torch reads the same variable
    agents = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True)
    for name, value in (("MASTER_ADDR", "127.0.0.1"), ("MASTER_PORT", agents.port), ("TORCHELASTIC_RESTART_COUNT", 2)):
        monkeypatch.setenv(name, str(value))
    store = our_torch.store_of_agents("a")
    assert store is not None
    store.set("key", "value")
    assert agents.get("a/2/key") == b"value"


def test_datasets_keeps_its_rows_files_and_fingerprint_where_compat_looks(tmp_path: Path) -> None:
    import datasets

    need(datasets.config, "HF_DATASETS_CACHE", "HF_UPDATE_DOWNLOAD_COUNTS")
    assert our_datasets.cache_folder() == Path(datasets.config.HF_DATASETS_CACHE)
    whole = datasets.Dataset.from_dict({"a": [1, 2, 3]})
    need(whole, "_indices", "_fingerprint")
    assert our_datasets.has_all_rows(whole) and not our_datasets.has_all_rows(whole.select([2, 0]))
    assert our_datasets.fingerprint_of(whole) != our_datasets.fingerprint_of(whole.select([2, 0]))
    whole.save_to_disk(tmp_path / "saved")
    (file,) = our_datasets.saved_files(tmp_path / "saved")
    assert file.is_file() and file.parent == tmp_path / "saved"


def test_datasets_calls_a_column_of_several_types_json(tmp_path: Path) -> None:
    import datasets

    (tmp_path / "mixed.jsonl").write_text('{"a": "text", "b": 1}\n{"a": 1, "b": 2}\n')
    builder = datasets.load_dataset_builder("json", data_files=str(tmp_path / "mixed.jsonl"), cache_dir=str(tmp_path))
    try:
        builder.download_and_prepare()
    except datasets.exceptions.DatasetGenerationError:
        return  # versions without such a column refuse the file, which is then read row by row
    assert builder.info.features is not None
    assert our_datasets.holds_several_types(builder.info.features["a"])
    assert not our_datasets.holds_several_types(builder.info.features["b"])


@pytest.fixture
def task() -> Any:
    from datasets import Dataset

    from lightning_embed.evaluation.tasks.local import LocalClassification, _metadata

    texts = Dataset.from_dict({"text": [f"w{i}" for i in range(20)], "label": ["x", "y"] * 10})
    return LocalClassification(_metadata("toy", "Classification", "t2c", "accuracy", "1", "train"), texts, None, 2)


def test_an_mteb_task_draws_from_what_compat_puts_back(task: Any) -> None:
    need(task, "rng_state", "np_rng", "seed", "n_splits", "prediction_file_name")
    state = our_mteb.random_state(task)
    first = (task.rng_state.random(), task.np_rng.random())
    our_mteb.set_random_state(task, state)
    assert (task.rng_state.random(), task.np_rng.random()) == first


def test_mtebs_predictions_and_folds_are_what_compat_reads(task: Any, tmp_path: Path) -> None:
    import mteb
    import numpy as np

    class ByNumber:
        """Even and odd numbers apart, which is what the labels are."""

        mteb_model_meta = mteb.models.ModelMeta.create_empty({"name": "local/toy", "revision": "1"})
        similarity = similarity_pairwise = len

        def encode(self, inputs: Any, **_: Any) -> Any:
            return np.array([[int(text[1:]) % 2, 1.0] for batch in inputs for text in batch["text"]])

    assert our_mteb.read_predictions(task, tmp_path) is None
    mteb.evaluate(ByNumber(), task, cache=None, prediction_folder=tmp_path, show_progress_bar=False)
    predicted = our_mteb.read_predictions(task, tmp_path)["default"]["train"]
    folds = our_mteb.folds(task, 20)
    labels = np.array(task.dataset["train"]["label"])
    assert [len(fold) for fold in predicted] == [len(tested) for tested in folds]
    assert all((np.array(fold) == labels[tested]).all() for fold, tested in zip(predicted, folds, strict=True))


def test_mteb_scores_what_compat_renumbers(task: Any) -> None:
    need(task, "_calculate_scores")
    with pytest.raises(ValueError, match="pos_label=1 is not a valid label"):
        task._calculate_scores([2, 5, 5], [2, 5, 3])
    our_mteb.score_folds_of_two_labels(task)
    found = task._calculate_scores([2, 5, 5], [2, 5, 3])
    assert found["accuracy"] == pytest.approx(2 / 3) and found["ap"] is None


def test_mteb_chooses_prompts_by_functions_that_compat_calls(task: Any) -> None:
    from mteb.types import PromptType

    prompts = our_mteb.usable_prompts({"query": "q: ", "nonsense": "n: ", "Classification": "c: "})
    assert prompts == {"query": "q: ", "Classification": "c: "} and our_mteb.usable_prompts({}) == {}
    assert our_mteb.choose_prompt({"query": "q: "}, task.metadata, PromptType.query) == "query"
    assert our_mteb.choose_prompt(prompts, task.metadata, None) == "Classification"


def test_mtebs_search_keeps_the_ids_of_its_documents_where_compat_puts_them() -> None:
    from mteb.models import SearchEncoderWrapper

    need(SearchEncoderWrapper(SimpleNamespace(mteb_model_meta=None)), "task_corpus")  # type: ignore[arg-type]


def test_sentence_transformers_holds_its_transformer_where_compat_replaces_it(student: Path) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import AutoModel

    model = SentenceTransformer(modules=[Transformer(str(student)), Pooling(32, "mean")], device="cpu")
    need(model[0], "model")
    assert type(our_sentence_transformers.inner_model(model)).__name__ == "BertModel"
    before = model.encode("w1 w2")
    our_sentence_transformers.set_inner_model(model, AutoModel.from_pretrained(student).apply(_halve).eval())
    assert not (model.encode("w1 w2") == before).all()


def _halve(module: nn.Module) -> None:
    for parameter in module.parameters(recurse=False):
        parameter.data /= 2


def test_mteb_names_the_task_that_was_meant() -> None:
    import mteb

    with pytest.raises(KeyError) as error:
        mteb.get_task("NFCorpu")
    assert our_mteb.nearest_task(error.value) == "NFCorpus"


def test_compat_loads_no_library_before_it_is_used() -> None:
    import subprocess

    script = (
        "import sys\n"
        "from lightning_embed.compat import datasets, mteb, peft, sentence_transformers, transformers\n"
        "heavy = {'datasets', 'mteb', 'peft', 'sentence_transformers', 'transformers', 'sklearn'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)


def test_jsonargparse() -> None:
    from jsonargparse import _loaders_dumpers, _typehints

    need(_typehints, "adapt_typehints")
    need(_loaders_dumpers, "yaml_load")
    assert our_jsonargparse.load_yaml("lr: 1e-5") == {"lr": 1e-5}


def test_jsonargparse_takes_the_word_that_compat_adds() -> None:
    from jsonargparse import ArgumentParser

    parser = ArgumentParser()
    parser.add_class_arguments(L.Trainer, "trainer", instantiate=False)
    our_jsonargparse.accept_word(parser, "trainer.precision", "auto")
    read = [parser.parse_args(["--trainer.precision", word]).trainer.precision for word in ("auto", "bf16-mixed")]
    assert read == ["auto", "bf16-mixed"]


def test_torch_says_whether_the_cpu_has_bf16() -> None:
    assert our_torch.cpu_has_bf16() in (True, False)


def test_lightning_asks_a_fused_optimizer_before_it_clips() -> None:
    from lightning.pytorch.plugins.precision import MixedPrecision

    weight = nn.Parameter(torch.ones(2))
    weight.grad = torch.full((2,), 10.0)
    optimizer = torch.optim.AdamW([weight], fused=True)
    need(optimizer, "_step_supports_amp_scaling")
    plugin = MixedPrecision("bf16-mixed", "cpu")
    with pytest.raises(RuntimeError, match="fused"):
        plugin.clip_gradients(optimizer, 1.0)
    with our_lightning.clipping_fused(plugin, optimizer):
        plugin.clip_gradients(optimizer, 1.0)
    assert weight.grad.norm() == pytest.approx(1.0, rel=1e-4) and optimizer._step_supports_amp_scaling
