"""Nothing that a user calls from Python switches anything in the process for good."""

import csv
import json
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import transformers.utils.logging
from huggingface_hub.utils.tqdm import progress_bar_states

from lightning_embed.utils.quiet import quiet, same_process
from tests import commands
from tests.cli.test_fit import config
from tests.evaluation.test_evaluate import sts
from tests.toys import toy_pairs

switches = transformers.utils.logging


def state() -> dict[str, Any]:
    """All that could be switched, by what it is called here."""
    loggers = {name: one for name, one in logging.root.manager.loggerDict.items() if isinstance(one, logging.Logger)}
    return {
        "transformers' bars": switches.is_progress_bar_enabled(),
        "the hub's bars": dict(progress_bar_states),
        "datasets' bars": not datasets.are_progress_bars_disabled(),
        "datasets' verbosity": datasets.logging.get_verbosity(),
        "levels": {name: logger.level for name, logger in {"": logging.root, **loggers}.items() if logger.level},
        "filters": list(warnings.filters),
        "cell size": csv.field_size_limit(),
        "arguments": list(sys.argv),
        "environment": {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"},
    }


@pytest.fixture(params=["as imported", pytest.param("as a user set it", marks=pytest.mark.slow)])
def before(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    """What must be afterwards as it is now; a user may have switched each thing to either side."""
    import mteb  # noqa: F401  (what importing a library sets is its own affair)
    import sentence_transformers  # noqa: F401
    import torch.utils.tensorboard  # noqa: F401

    import lightning_embed.cli.fit  # noqa: F401

    verbosity, levels = switches.get_verbosity(), datasets.logging.get_verbosity()
    with same_process(), quiet("datasets", "transformers"):
        limit = csv.field_size_limit()
        if request.param == "as imported":
            switches.enable_progress_bar()
            datasets.enable_progress_bars()
            switches.set_verbosity(verbosity)
            datasets.logging.set_verbosity(levels)
        else:
            switches.set_verbosity_info()
            datasets.logging.set_verbosity_debug()
            progress_bar_states.update({"_global": True, "huggingface_hub.snapshot_download": False})
            csv.field_size_limit(5000)
            warnings.simplefilter("error", ResourceWarning)
            os.environ |= {"TOKENIZERS_PARALLELISM": "true", "LIGHTNING_EMBED_X": "1"}
        yield state()
        csv.field_size_limit(limit)


def encoders(teacher: Path, student: Path, pairs: Path, tmp_path: Path) -> None:
    from lightning_embed.encoders.teacher import FrozenEncoder
    from lightning_embed.encoders.text_encoder import TextEncoder

    TextEncoder(str(student)).encode(["w1 w2"])
    FrozenEncoder(str(teacher)).encode(["w1 w2"])


def data(teacher: Path, student: Path, pairs: Path, tmp_path: Path) -> None:
    from lightning_embed.datamodules import EmbeddingDataModule
    from lightning_embed.datamodules.sources import Source
    from lightning_embed.encoders.text_encoder import TextEncoder

    rows = toy_pairs(20)
    rows[0]["positive"] = "w1 " * 50_000  # longer than a cell may be by Python's own limit
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "p.parquet")
    (tmp_path / "array.json").write_text(json.dumps(rows))
    for name, separator in (("c.csv", ","), ("t.tsv", "\t")):
        with (tmp_path / name).open("w", newline="") as file:
            writer = csv.DictWriter(file, ["anchor", "positive"], delimiter=separator)
            writer.writeheader()
            writer.writerows(rows)
    files = [pairs, *(tmp_path / name for name in ("p.parquet", "array.json", "c.csv", "t.tsv"))]
    module = EmbeddingDataModule([Source(path=str(file)) for file in files], global_batch_size=4, num_workers=2)
    module.tokenizers = {"student": TextEncoder(str(student)).tokenizer}
    module.setup("fit")
    assert len(list(module.train_dataloader())) > 20


def export(teacher: Path, student: Path, pairs: Path, tmp_path: Path) -> None:
    from lightning_embed.encoders.text_encoder import TextEncoder
    from lightning_embed.export import export_encoder

    export_encoder(TextEncoder(str(student)), tmp_path / "model")


def scores(teacher: Path, student: Path, pairs: Path, tmp_path: Path) -> None:
    from lightning_embed.evaluation.run import evaluate

    task, kept = str(sts(tmp_path / "pairs.jsonl")), str(tmp_path / "cache")
    evaluate([str(student)], [task], [16], ["float32"], str(tmp_path / "out"), kept, "cpu")


def fits(teacher: Path, student: Path, pairs: Path, tmp_path: Path) -> None:
    settings = config(teacher, student, pairs, tmp_path / "run")
    settings["data"]["init_args"]["num_workers"] = 1
    commands.run("fit", settings, tmp_path)
    commands.run("fit", settings, tmp_path)
    assert (tmp_path / "run/model").is_dir() and (tmp_path / "run-2/model").is_dir()  # each has a folder of its own


@pytest.mark.parametrize("action", [encoders, data, export, scores, fits])
def test_what_a_user_calls_leaves_the_process_as_it_was(
    action: Callable[..., None], before: dict[str, Any], teacher: Path, student: Path, pairs: Path, tmp_path: Path
) -> None:
    action(teacher, student, pairs, tmp_path)
    for name, value in state().items():
        assert value == before[name], name


def test_in_a_block_libraries_are_quiet_and_afterwards_they_are_not_even_if_it_fails() -> None:
    with same_process(), quiet("datasets", "transformers"):
        switches.enable_progress_bar()
        datasets.enable_progress_bars()
        logging.getLogger("some.library").setLevel(logging.DEBUG)
        outside = state()
        with pytest.raises(KeyError), same_process(), quiet("datasets", "transformers", loggers=["some.library"]):
            assert datasets.are_progress_bars_disabled() and not switches.is_progress_bar_enabled()
            assert datasets.logging.get_verbosity() == switches.get_verbosity() == logging.CRITICAL
            assert logging.getLogger("some.library").level == logging.ERROR
            warnings.simplefilter("ignore")
            sys.argv = ["other"]
            os.environ |= {"HOME": "elsewhere", "LIGHTNING_EMBED_X": "1"}
            raise KeyError
        assert state() == outside
        logging.getLogger("some.library").setLevel(logging.NOTSET)


def test_a_bar_that_an_environment_variable_has_the_last_word_about_is_no_reason_for_a_warning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys.modules["datasets.utils.tqdm"], "HF_DATASETS_DISABLE_PROGRESS_BARS", False)
    monkeypatch.setattr(sys.modules["huggingface_hub.utils.tqdm"], "HF_HUB_DISABLE_PROGRESS_BARS", True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with quiet("datasets", "transformers"):
            pass
