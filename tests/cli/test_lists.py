"""A list of a later --config, or on the command line, replaces the earlier list."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from lightning_embed.cli.fit import EmbedCLI
from tests import commands

FIRST: dict[str, Any] = {
    "model": {"class_path": "EmbeddingModule", "init_args": {"student": {"model": "s"}, "losses": {"gor": {"loss": "GOR"}}}},
    "data": {
        "class_path": "EmbeddingDataModule",
        "init_args": {
            name: [{"path": "a.jsonl", "max_length": 24, "weight": 0.5, "filter": ["score > 1"]}]
            for name in ("train", "validation", "test", "predict")
        },
    },
    "trainer": {
        "callbacks": [{"class_path": "EarlyStopping", "init_args": {"monitor": "train/loss", "patience": 7}}],
        "logger": [{"class_path": "CSVLogger", "init_args": {"save_dir": "x", "name": "hello"}}],
    },
}  # fmt: skip


@pytest.fixture
def parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What `fit` makes of the configuration above and more words, before it builds anything."""
    seen: list[Any] = []

    def stop(cli: EmbedCLI) -> None:
        seen.append(cli.config["fit"])
        raise SystemExit(0)

    def parse(*words: str) -> Any:
        with pytest.raises(SystemExit) as stopped:
            commands.run("fit", FIRST, tmp_path, *words)
        assert stopped.value.code == 0
        return seen[-1]

    monkeypatch.setattr(EmbedCLI, "before_instantiate_classes", stop)
    return parse


@pytest.mark.parametrize("split", ["train", "validation", "test", "predict"])
@pytest.mark.parametrize("option", ["--data.{}", "--data.init_args.{}"])
def test_sources_on_the_command_line_replace_those_of_the_file(parsed: Any, split: str, option: str) -> None:
    (source,) = parsed(option.format(split), "[{path: b.jsonl}]").data.init_args[split]
    assert (source.path, source.filter, source.weight, source.max_length) == ("b.jsonl", None, 1.0, None)


def test_sources_of_a_mapping_on_the_command_line_replace_those_of_the_file(parsed: Any) -> None:
    (source,) = parsed("--data", "{train: [{path: b.jsonl}]}").data.init_args.train
    assert source.path == "b.jsonl" and source.filter is None


def test_callbacks_and_loggers_on_the_command_line_replace_those_of_the_file(parsed: Any) -> None:
    callback = "[{class_path: EarlyStopping, init_args: {monitor: val/mrr@10}}]"
    logger = "[{class_path: CSVLogger, init_args: {save_dir: y}}]"
    trainer = parsed("--trainer.callbacks", callback, "--trainer.logger", logger).trainer
    assert trainer.callbacks[0].init_args.patience == 3
    assert trainer.logger[0].init_args.name == "lightning_logs"


def test_sources_of_a_second_config_replace_those_of_the_first(parsed: Any, tmp_path: Path) -> None:
    second = tmp_path / "second.yaml"
    second.write_text(yaml.safe_dump({"data": {"init_args": {"train": [{"path": "b.jsonl"}]}}}))
    data = parsed("--config", str(second)).data.init_args
    assert data.train[0].path == "b.jsonl" and data.train[0].filter is None
    assert data.validation[0].filter == ["score > 1"]


def test_a_plus_still_adds_to_the_list_of_the_file(parsed: Any) -> None:
    first, added = parsed("--data.init_args.train+", "{path: b.jsonl}").data.init_args.train
    assert (first.path, first.filter, added.path, added.filter) == ("a.jsonl", ["score > 1"], "b.jsonl", None)


def test_one_setting_of_a_source_is_still_changed_alone(parsed: Any) -> None:
    (source,) = parsed("--data.init_args.train.weight", "2").data.init_args.train
    assert (source.path, source.weight, source.filter) == ("a.jsonl", 2.0, ["score > 1"])
